"""A small convolutional net on CIFAR-10, fed by an input pipeline and evaluated beside it."""
