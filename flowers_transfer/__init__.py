"""Transfer learning: trains a new head on the bottlenecks of a frozen graph."""

import tutorial_support  # noqa: F401  (sets the environment for TensorFlow)
