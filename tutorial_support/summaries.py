"""Adds summaries to a graph, and writes values into event files."""

import pathlib

import tensorflow.compat.v1 as tf

from tutorial_support import files

DETAILS = "details"  # the collection of summaries that are written occasionally or on demand


def add_details(**tensors: tf.Tensor) -> None:
    """Adds summaries of a net's inner tensors, given by name, to the collection DETAILS.

    `images` gets an image summary; every other tensor gets a histogram and its fraction of zeros.
    `merged_details` adds the summaries of the variables.
    """
    for name, tensor in tensors.items():
        if name == "images":
            tf.summary.image(name, tensor, max_outputs=6, collections=[DETAILS])
        else:
            tf.summary.histogram(f"activations/{name}", tensor, collections=[DETAILS])
            # Use the tensor's own name scope, so that TensorBoard draws no additional box.
            # tf.nn.zero_fraction would add two functions, each of which gets a box, too.
            scope = tensor.op.name.rpartition("/")[0]
            with tf.name_scope(f"{scope}/zeros/" if scope else "zeros"):
                zeros = tf.reduce_sum(tf.cast(tf.equal(tensor, 0), tf.float32))
                sparsity = zeros / tf.cast(tf.size(tensor), tf.float32)
            tf.summary.scalar(f"sparsity/{name}", sparsity, collections=[DETAILS])


def merged_details() -> tf.Tensor:
    """Returns the merged summaries in DETAILS, after adding a histogram per trainable variable."""
    for variable in tf.trainable_variables():
        tf.summary.histogram(f"variables/{variable.op.name}", variable, collections=[DETAILS])
    return tf.summary.merge_all(DETAILS)


def write_scalar(writer: tf.summary.FileWriter, tag: str, value: float, step: int) -> None:
    """Writes a Python number as a scalar; a summary need not come from the graph."""
    summary = tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
    writer.add_summary(summary, step)


def write_trace(
    writer: tf.summary.FileWriter, metadata: tf.RunMetadata, step: int, folder: pathlib.Path
) -> None:
    """Writes the trace of a step for TensorBoard's graph page and for a browser's trace viewer.

    Args:
        writer: the writer of the event file that contains the graph.
        metadata: filled in by `Session.run`.
        step: the global step.
        folder: the folder for `trace-step-<step>.json`, which chrome://tracing and
            https://ui.perfetto.dev can open.
    """
    from tensorflow.python.client import timeline  # not available from a public module

    writer.add_run_metadata(metadata, f"step{step}", step)
    trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    files.write_text(folder / f"trace-step-{step}.json", trace)
