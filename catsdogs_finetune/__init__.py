"""Fine-tuning: MobileNetV2 built from low-level ops, with pretrained weights."""
