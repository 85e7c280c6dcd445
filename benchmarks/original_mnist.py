"""A short version of the original MNIST program as a whole command, in the original's way.

Float images, shuffled each epoch by copying; one feed dictionary per step; evaluation of all three
splits every 1,000 steps, batch by batch, without the last partial batch; then a checkpoint.
"""

import gzip
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow.compat.v1 as tf

from mnist_mechanics import mnist

BATCH, STEPS, VALIDATION = 100, 2000, 5000


class DataSet:
    """Images and labels in batches."""

    def __init__(self, images, labels):
        self.images = np.multiply(images.astype(np.float32), 1.0 / 255.0)
        self.labels, self.start = labels, 0

    def next_batch(self):
        """Returns the next images and labels."""
        if self.start + BATCH > len(self.labels):
            order = np.random.permutation(len(self.labels))
            self.images, self.labels, self.start = self.images[order], self.labels[order], 0
        part = slice(self.start, self.start + BATCH)
        self.start += BATCH
        return self.images[part], self.labels[part]


def read(folder, name, offset):
    """Returns the bytes of an idx file after its header."""
    return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)


def main(folder):
    """Trains and evaluates."""
    folder = pathlib.Path(folder)
    sets = []
    for prefix in ("train", "t10k"):
        labels = read(folder, f"{prefix}-labels-idx1-ubyte.gz", 8)
        sets.append((read(folder, f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 784), labels))
    (images, labels), test = sets
    splits = [
        DataSet(images[VALIDATION:], labels[VALIDATION:]),
        DataSet(images[:VALIDATION], labels[:VALIDATION]),
        DataSet(*test),
    ]
    temporary = tempfile.TemporaryDirectory(prefix="benchmark-")  # gone at the end
    log_dir = temporary.name
    with tf.Graph().as_default():
        images_placeholder = tf.placeholder(tf.float32, (BATCH, 784))
        labels_placeholder = tf.placeholder(tf.int32, (BATCH,))
        logits = mnist.inference(images_placeholder, 128, 32)
        loss = mnist.loss(logits, labels_placeholder)
        train_op = mnist.training(loss, 0.01)
        eval_correct = mnist.evaluation(logits, labels_placeholder)
        summary = tf.summary.merge_all()
        saver = tf.train.Saver()
        sess = tf.Session()
        writer = tf.summary.FileWriter(log_dir, sess.graph)
        sess.run(tf.global_variables_initializer())

        def feed(data_set):
            return dict(
                zip((images_placeholder, labels_placeholder), data_set.next_batch(), strict=True)
            )

        for step in range(STEPS):
            started = time.time()
            feed_dict = feed(splits[0])
            _, loss_value = sess.run([train_op, loss], feed_dict)
            if step % 100 == 0:
                print(f"Step {step}: loss = {loss_value:.2f} ({time.time() - started:.3f} sec)")
                writer.add_summary(sess.run(summary, feed_dict), step)
                writer.flush()
            if (step + 1) % 1000 == 0 or step + 1 == STEPS:
                saver.save(sess, f"{log_dir}/model.ckpt", step)
                for data_set in splits:
                    batches = len(data_set.labels) // BATCH
                    correct = sum(sess.run(eval_correct, feed(data_set)) for _ in range(batches))
                    print(f"Num examples: {batches * BATCH}  Num correct: {correct}")


if __name__ == "__main__":
    main(sys.argv[1])
