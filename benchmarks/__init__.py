"""Measurements, for anyone to repeat.

Nothing is imported here: a contestant that is not of this package gets TensorFlow as it comes.
"""
