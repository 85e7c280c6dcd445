"""Computes the bottlenecks that phase 1 keeps ahead of it, alone or divided over several tasks.

    python -m catsdogs_finetune.extract --data_dir my_photos
    python -m tutorial_support.local_cluster --ps 0 --workers 2 -- \
        python -m catsdogs_finetune.extract --data_dir my_photos
    TF_CONFIG=... python -m catsdogs_finetune.extract       (each task; --bottleneck_dir is shared)

All tasks end with the whole in one store, which training then reads.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import flags as training_flags
from catsdogs_finetune import mobilenet_v2, photo_input, pretrained
from catsdogs_finetune.kept_bottlenecks import KeptBottlenecks
from tutorial_support import image_lists, replicas, sessions
from tutorial_support.programs import ArgumentParser, program

_BATCH = 32  # images


@program
def main(argv=None):
    """Parses the flags and computes."""
    parser = ArgumentParser(__doc__)
    training_flags.add_data_flags(parser)
    training_flags.add_base_flags(parser)
    replicas.add_wait_flag(parser)
    flags = parser.parse_args(argv)
    source = training_flags.find_source(flags)
    images = source.images
    chosen = np.append(*map(images.of_split, (image_lists.TRAINING, image_lists.VALIDATION)))
    share = replicas.share_from_environment(flags.wait_secs)

    with tf.Graph().as_default(), tf.Session(config=sessions.config()) as sess:
        indices = tf.placeholder(tf.int64, [None])
        iterator = tf.data.make_initializable_iterator(
            photo_input.evaluation_batches(images, indices, flags.image_size, _BATCH)
        )
        pictures, _ = iterator.get_next()
        bottlenecks = mobilenet_v2.bottlenecks(mobilenet_v2.features(pictures, flags.alpha))
        feed_dict = pretrained.fill_feed_dict(source.weights, tf.global_variables())
        sess.run(tf.global_variables_initializer(), feed_dict)
        KeptBottlenecks(
            images,
            chosen,
            source.store_folder,
            mobilenet_v2.bottleneck_size(flags.alpha),
            lambda missing: sessions.one_pass(sess, iterator, bottlenecks, {indices: missing}),
            share=share,
        )
    print(f"The store holds the bottlenecks of {len(chosen)} images.")


if __name__ == "__main__":
    sys.exit(main())
