"""Session settings, and an orderly end when a signal asks for it."""

import signal
import threading

import tensorflow.compat.v1 as tf

from tutorial_support import files


def config(small_net=False):
    """Returns the ConfigProto of every session here.

    On a GPU, memory is taken as it is needed, so that an evaluation can run beside a training.

    Args:
        small_net: whether its ops take microseconds. Then to hand them, or parts of them, to other
            threads costs more than it gains: they run in the thread that calls `Session.run`, one
            by one. (How many threads an op may use, the first session of a process decides.)
    """
    proto = tf.ConfigProto(allow_soft_placement=True)
    proto.gpu_options.allow_growth = True
    if small_net:
        proto.inter_op_parallelism_threads = -1
        proto.intra_op_parallelism_threads = 1
    else:
        # TensorFlow would optimize a large graph twice: up to half a second later, and no faster.
        rewriting = proto.graph_options.rewrite_options
        rewriting.meta_optimizer_iterations = rewriting.ONE
    return proto


def one_pass(sess, iterator, fetches, feed_dict=None):
    """Yields the values of `fetches` for each element of an initializable tf.data iterator.

    Args:
        sess: tf.Session.
        iterator: from `tf.data.make_initializable_iterator`, whose dataset ends; it is begun anew.
        fetches: as of `Session.run`; they take the iterator's next element.
        feed_dict: for the initialization and for every run alike.
    """
    sess.run(iterator.initializer, feed_dict)
    while True:
        try:
            yield sess.run(fetches, feed_dict)
        except tf.errors.OutOfRangeError:  # how an iterator says that the pass is over
            return


class StopSignals:
    """Turns the first SIGINT or SIGTERM into a flag that a training loop asks for.

        with StopSignals() as stop:
            for step in ...:
                ...
                if stop.requested:
                    break
        return stop.exit_code

    A second signal acts as it does without this class, so that Ctrl-C twice ends at once.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self._received = None
        self._previous = {}

    @property
    def requested(self):
        """Whether a signal has come."""
        return self._received is not None

    @property
    def exit_code(self):
        """128 plus the signal's number (130 or 143), or 0 where none came."""
        return 128 + self._received if self.requested else 0

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in self._SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception):
        self._restore()

    def _receive(self, number, frame):
        self._received = number
        self._restore()

    def _restore(self):
        while self._previous:
            signal.signal(*self._previous.popitem())


def full_trace():
    """Returns (RunOptions, RunMetadata) that make `Session.run` record which ops it ran."""
    return tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()


def write_trace(writer, metadata, step, folder):
    """Keeps a recorded step for TensorBoard's graph page and for a browser's trace viewer.

    Args:
        writer: a tf.summary.FileWriter whose graph is the one that was run.
        metadata: RunMetadata, filled by `Session.run`.
        step: the step's number.
        folder: a pathlib.Path; `trace-step-<step>.json` goes there, which chrome://tracing and
            https://ui.perfetto.dev open.
    """
    from tensorflow.python.client import timeline  # its only home; part of no public module

    writer.add_run_metadata(metadata, f"step{step}", step)
    trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    files.write_text(folder / f"trace-step-{step}.json", trace)
