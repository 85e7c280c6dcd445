"""The code before and after porting that PORTING.md links to; tests run all of it.

`before_*.py` is TensorFlow 1 code, which fails on TensorFlow 2 as the guide says. `after_*.py` does
the same on TensorFlow 2.
"""
