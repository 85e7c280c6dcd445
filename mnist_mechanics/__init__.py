"""TensorFlow Mechanics 101: a fully connected net on MNIST, trained from feed dictionaries."""

import tutorial_support  # noqa: F401  (sets the environment for TensorFlow)
