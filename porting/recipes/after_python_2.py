"""The same in Python 3. Only `print` without parentheses was a syntax error."""

import pathlib


def read_labels(path):
    data = pathlib.Path(path).read_bytes()
    print("read", len(data), "bytes")
    return list(data[8:])  # bytes are ints already, and map() would return an iterator


def batches(labels, size):
    count = len(labels) // size  # `/` gives a float
    return [labels[i * size : (i + 1) * size] for i in range(count)]


def classes(labels):
    counts: dict = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return sorted(counts)  # keys() is a view, which has no sort()
