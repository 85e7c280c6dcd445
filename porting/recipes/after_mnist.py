"""MNIST from this package: only the import changes."""

from mnist_mechanics import input_data


def first_batch(folder):
    data_sets = input_data.read_data_sets(folder, one_hot=True)
    return data_sets.train.next_batch(50)
