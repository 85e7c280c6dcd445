"""Extraction, batch 16: pictures per second from JPEG files to Inception-v3's bottlenecks.

The net is Keras' Inception-v3 with random weights, frozen. The original runs it on one picture at a
time.
"""

import dataclasses
import os
import pathlib
import tempfile

import numpy as np

from benchmarks.contest import OURS, PLAIN, Contestant

UNIT = "images/s"
BASE = "original way"
BATCH = int(os.environ.get("BENCHMARK_BATCH", "16"))

CONTESTANTS = [
    Contestant(BASE, "original_way", PLAIN),
    Contestant("original way, oneDNN off", "original_way", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    Contestant("here", "here", OURS),
]
STEPS = {"": 2}


def _frozen():
    """Returns the base_graph.FrozenGraph of a net with random weights."""
    from flowers_transfer import base_graph, make_base

    path = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"), "base.pb")
    if make_base.main(["--net", "InceptionV3", "--weights", "random", str(path)]):
        raise SystemExit("the base could not be made")
    return base_graph.load(path, base_graph.described(path))


def _pictures():
    from PIL import Image

    folder = pathlib.Path(tempfile.mkdtemp(prefix="benchmark-"))
    random = np.random.default_rng(0)
    for number in range(BATCH):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240)).save(folder / f"{number}.jpg")
    return sorted(folder.iterdir())


def original_way():
    """From JPEG to bottleneck, picture by picture, in the default session."""
    import tensorflow.compat.v1 as tf

    graph_def = _frozen().graph_def
    paths = _pictures()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        sess = tf.Session(graph=graph)

    def work(count):
        vectors = []
        for _ in range(count):
            for path in paths:
                feed_dict = {"DecodeJpeg/contents:0": path.read_bytes()}
                vectors.append(sess.run("pool_3/_reshape:0", feed_dict)[0])
        return vectors

    return work


def here():
    """`flowers_transfer.extract`: pictures read by threads, batches through the base."""
    from flowers_transfer import bottlenecks

    extractor = bottlenecks.Extractor(dataclasses.replace(_frozen(), batch_size=BATCH))
    paths = _pictures()

    def work(count):
        vectors = []
        pictures = extractor.prepare_all((path,) for _ in range(count) for path in paths)
        batch = []
        for picture in pictures:
            batch.append(picture)
            if len(batch) == BATCH:
                vectors += list(extractor.bottlenecks(np.stack(batch)))
                batch = []
        return vectors

    return work
