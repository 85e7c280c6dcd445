"""Help for a reader's own TensorFlow 1 programs, graphs and checkpoints.

    python -m porting.check PATH...                 lists what fails on the installed TensorFlow
    python -m porting.inspect FILE_OR_FOLDER        describes a model file and shows how to run it
    python -m porting.convert_checkpoint SRC DST    renames, casts, drops or joins variables

PORTING.md is the guide. This package does not import the tutorials.
"""
