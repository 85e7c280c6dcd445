"""Help for a reader's own TensorFlow 1 programs, graphs and checkpoints.

    python -m porting.check PATH...                 what of this code fails on this TensorFlow?
    python -m porting.inspect FILE_OR_FOLDER        what is this model, and how do I run it?
    python -m porting.convert_checkpoint SRC DST    rename, cast, drop or join variables

PORTING.md is the guide. This package imports none of the tutorials.
"""
