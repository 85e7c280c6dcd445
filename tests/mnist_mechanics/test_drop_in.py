"""A TensorFlow 1 program runs after only its import of `input_data` is changed."""

import runpy
import sys

import numpy as np
import pytest

from mnist_mechanics import input_data
from tests.mnist_mechanics.test_input_data import make_set, write_set

OLD = "from tensorflow.examples.tutorials.mnist import input_data"
NEW = "from mnist_mechanics import input_data"
PROGRAM = f'''
"""Softmax regression on MNIST."""

import argparse
import sys

import tensorflow.compat.v1 as tf

{OLD}


def placeholder_inputs(batch_size):
    images = tf.placeholder(tf.float32, shape=(batch_size, 784))
    labels = tf.placeholder(tf.float32, shape=(batch_size, 10))
    return images, labels


def do_eval(sess, eval_correct, images_pl, labels_pl, data_set):
    true_count = 0
    steps_per_epoch = data_set.num_examples // FLAGS.batch_size
    num_examples = steps_per_epoch * FLAGS.batch_size
    for step in range(steps_per_epoch):
        images, labels = data_set.next_batch(FLAGS.batch_size, FLAGS.fake_data)
        true_count += sess.run(eval_correct, feed_dict={{images_pl: images, labels_pl: labels}})
    print("Precision @ 1: %0.04f" % (float(true_count) / num_examples))


def main(_):
    data_sets = input_data.read_data_sets(FLAGS.train_dir, FLAGS.fake_data, one_hot=True)
    with tf.Graph().as_default():
        images, labels = placeholder_inputs(FLAGS.batch_size)
        w = tf.Variable(tf.zeros([784, 10]))
        b = tf.Variable(tf.zeros([10]))
        logits = tf.matmul(images, w) + b
        loss = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        train_op = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
        correct = tf.equal(tf.argmax(logits, 1), tf.argmax(labels, 1))
        eval_correct = tf.reduce_sum(tf.cast(correct, tf.int32))
        sess = tf.Session()
        sess.run(tf.global_variables_initializer())
        epochs = data_sets.train.epochs_completed
        for step in range(FLAGS.max_steps):
            batch = data_sets.train.next_batch(FLAGS.batch_size, FLAGS.fake_data)
            sess.run(train_op, feed_dict={{images: batch[0], labels: batch[1]}})
        print("%d epochs" % (data_sets.train.epochs_completed - epochs))
        do_eval(sess, eval_correct, images, labels, data_sets.test)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--train_dir", type=str, default="data")
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--max_steps", type=int, default=450)
    parser.add_argument("--fake_data", action="store_true", default=False)
    FLAGS, unparsed = parser.parse_known_args()
    tf.app.run(main=main, argv=[sys.argv[0]] + unparsed)
'''


def run(monkeypatch, tmp_path, capsys, *arguments):
    (tmp_path / "old.py").write_text(PROGRAM)
    (tmp_path / "new.py").write_text(PROGRAM.replace(OLD, NEW))
    with pytest.raises(ModuleNotFoundError):  # so the original module is not there
        runpy.run_path(str(tmp_path / "old.py"), run_name="__main__")
    monkeypatch.setattr(sys, "argv", ["new.py", *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tmp_path / "new.py"), run_name="__main__")
    assert not end.value.code
    return capsys.readouterr().out.splitlines()


def test_program_learns(monkeypatch, tmp_path, capsys):
    epochs, precision = run(monkeypatch, tmp_path, capsys, "--train_dir", str(input_data.SAMPLE))
    assert epochs == "12 epochs"  # 450 batches of 100 from 3,600 training images
    assert float(precision.split()[-1]) > 0.8


def test_program_runs_on_fake_data(monkeypatch, tmp_path, capsys):
    _, precision = run(monkeypatch, tmp_path, capsys, "--fake_data", "--max_steps", "5")
    assert float(precision.split()[-1]) == 1  # all images are white and labelled 0


def test_arguments_have_the_order_of_the_original(tmp_path):
    """read_data_sets(train_dir, fake_data, one_hot, dtype, reshape, validation_size, seed)."""
    arrays = make_set()
    write_set(tmp_path, arrays)
    sets = input_data.read_data_sets(str(tmp_path), False, True, np.uint8, False, 7, 3)
    assert [len(s.labels) for s in sets] == [23, 7, 10]
    assert sets.train.images.shape == (23, 28, 28, 1) and sets.train.images.dtype == np.uint8
    np.testing.assert_array_equal(sets.train.labels.sum(axis=1), np.ones(23))
    images = sets.train.images
    # DataSet(images, labels, fake_data, one_hot, dtype, reshape, seed)
    again = input_data.DataSet(images, sets.train.labels, False, True, np.float32, True, 3)
    batches = again.next_batch(23, False, False)
    np.testing.assert_allclose(batches[0], images.reshape(23, 784) / 255, rtol=1e-6)
    np.testing.assert_array_equal(batches[1], sets.train.labels)


def test_extractors_take_open_files(tmp_path):
    arrays = make_set()
    write_set(tmp_path, arrays)
    with (tmp_path / "train-images-idx3-ubyte.gz").open("rb") as stream:
        images = input_data.extract_images(stream)
    with (tmp_path / "train-labels-idx1-ubyte.gz").open("rb") as stream:
        labels = input_data.extract_labels(stream, True, 12)
    assert images.shape == (30, 28, 28, 1) and images.dtype == np.uint8
    assert labels.shape == (30, 12)
    with (tmp_path / "train-labels-idx1-ubyte.gz").open("rb") as stream:
        numbers = input_data.extract_labels(stream)
    np.testing.assert_array_equal(labels, input_data.dense_to_one_hot(numbers, 12))
    np.testing.assert_array_equal(labels.argmax(axis=1), numbers)
