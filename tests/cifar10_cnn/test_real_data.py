"""The published CIFAR-10 files."""

import numpy as np

from cifar10_cnn import cifar10_input


def test_published_records_are_whole_and_balanced(real_data):
    folder, _ = cifar10_input.find_folder(real_data)
    for records, count in (
        (cifar10_input.training_records(folder), 50_000),
        (cifar10_input.test_records(folder), 10_000),
    ):
        assert records.num_examples == count
        assert records.class_names[3] == "cat"
        assert (np.bincount(records.labels) == count // 10).all()
