"""Helpers for the notebooks: shown source code, drawings of graphs, and exercises."""
