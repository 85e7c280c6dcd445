"""One module for each kind of file that `porting.inspect` describes.

Each has a function that says whether a file is of its kind, by its content, and one that returns
its `description.Description`. Nothing that a file holds is run, and what is read of it is bounded.
"""
