"""Transfer learning: trains a new head on the bottlenecks of a frozen graph."""
