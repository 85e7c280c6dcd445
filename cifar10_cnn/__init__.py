"""A small convolutional net on CIFAR-10 with an input pipeline inside the graph."""
