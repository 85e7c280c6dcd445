"""Measurements, for anyone to repeat."""

import tutorial_support  # noqa: F401  (sets the environment for TensorFlow)
