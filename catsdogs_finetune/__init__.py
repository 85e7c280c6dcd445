"""Fine-tuning: MobileNetV2 built from low-level ops, with pretrained weights."""

import tutorial_support  # noqa: F401  (sets the environment for TensorFlow)
