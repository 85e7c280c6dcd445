"""What all tutorials need and none is about.

Tutorials import these modules; these modules import no tutorial. Importing this package first
sets the environment's defaults, which have to hold before TensorFlow is loaded, and loads it.
"""

from tutorial_support import environment

environment.prepare()
