"""Code that all four tutorials share. Tutorials import these modules, never the reverse."""

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")  # the parts of a data set

__version__ = "0.2.0"
