r"""Computes the bottlenecks for phase 1 before training, in one process or in several tasks.

    python -m catsdogs_finetune.extract --data_dir my_photos
    python -m tutorial_support.local_cluster --ps 0 --workers 2 -- \
        python -m catsdogs_finetune.extract --data_dir my_photos
    TF_CONFIG=... python -m catsdogs_finetune.extract       (each task; all share --bottleneck_dir)

The tasks fill one store, which training then reads. Each ends when the store is complete.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
from catsdogs_finetune.kept_bottlenecks import KeptBottlenecks
from tutorial_support import TRAIN, VALIDATION, runs
from tutorial_support.cluster import replicas

_BATCH = 32  # images


@programs.program
def main(argv: list[str] | None = None) -> None:
    """Parses the flags and computes."""
    parser = programs.ArgumentParser(__doc__)
    photo_input.add_flags(parser)
    pretrained.add_flags(parser)
    replicas.add_wait_flag(parser)
    flags = parser.parse_args(argv)
    share = replicas.share_from_environment()
    images, facts = photo_input.load(flags, {})
    weights, facts["weights_digest"] = pretrained.load(flags, {})
    chosen = np.append(images.of_split(TRAIN), images.of_split(VALIDATION))

    with runs.graph_to_restore().as_default(), tf.Session(config=runs.session_config()) as sess:
        indices = tf.placeholder(tf.int64, [None])
        iterator = tf.data.make_initializable_iterator(
            photo_input.evaluation_batches(images, indices, flags.image_size, _BATCH)
        )
        pictures, _ = iterator.get_next()
        features, layers = mobilenet_v2.features(pictures, flags.alpha)
        bottlenecks = mobilenet_v2.bottlenecks(features)
        base = mobilenet_v2.weights(layers)
        feed_dict = pretrained.initial_values(base, pretrained.read(weights, base))
        sess.run(tf.global_variables_initializer(), feed_dict)

        def compute(missing: np.ndarray):
            sess.run(iterator.initializer, {indices: missing})
            return photo_input.until_end(sess, bottlenecks)

        KeptBottlenecks(
            images, chosen, flags, facts, compute, share=share, wait_secs=flags.wait_secs
        )
    print(f"The store holds the bottlenecks of {len(chosen)} images.")


if __name__ == "__main__":
    sys.exit(main())
