"""One module per kind of file that `porting.inspect` describes.

Each has a function that recognizes its kind of file by content, and one that returns a
`description.Description`. They run nothing in a file.
"""
