"""TensorFlow Mechanics 101: a fully connected net on MNIST, trained from feed dictionaries."""
