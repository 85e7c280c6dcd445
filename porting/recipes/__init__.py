"""Before and after: what PORTING.md shows, as files that the tests run.

`before_*.py` is code for TensorFlow 1, which fails on TensorFlow 2 as the guide says.
`after_*.py` does the same on TensorFlow 2.
"""
