"""Restores a trained net in a graph of its own and evaluates it on one split of the images.

python -m catsdogs_finetune.evaluate
python -m catsdogs_finetune.evaluate --checkpoint logs/catsdogs/best --split validation
python -m catsdogs_finetune.evaluate --data_dir other_photos
"""

import pathlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from catsdogs_finetune import flags as training_flags
from catsdogs_finetune import photo_input, reports, restored
from tutorial_support import image_lists, sessions
from tutorial_support.programs import ArgumentParser, UsageError, program

_BATCH = 32  # images


def split_logits(trained, images):
    """Returns the class logits, float32 [n, classes], of all images of a list.

    Args:
        trained: restored.TrainedNet.
        images: image_lists.ImageList of good pictures.
    """
    everything = np.arange(len(images.paths))
    with tf.Graph().as_default():
        iterator = tf.data.make_initializable_iterator(
            photo_input.evaluation_batches(images, everything, trained.image_size, _BATCH)
        )
        photos, _ = iterator.get_next()
        _, logits = trained.inference(photos)
        with tf.Session(config=sessions.config()) as sess:
            trained.restore(sess)
            return np.concatenate(list(sessions.one_pass(sess, iterator, logits)))


@program
def main(argv=None):
    """Parses the flags and evaluates."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    parser.add_argument(
        "--split", choices=image_lists.SPLITS, default="testing", help="which images"
    )
    training_flags.add_data_flags(parser)
    parser.add_argument(
        "--output_dir", help="folder for the pictures; else evaluation in the run's"
    )
    flags = parser.parse_args(argv)

    trained = restored.find(flags.checkpoint)
    data_dir, sample = flags.data_dir, flags.sample
    if not (data_dir or sample):
        data_dir, sample = trained.flags["data_dir"], trained.flags["sample"]
    folder, _ = photo_input.find_folder(None if sample else data_dir, sample)
    images = photo_input.find_images(folder)
    if list(images.class_names) != trained.class_names:
        raise UsageError(
            f"'{folder}' has the classes {', '.join(images.class_names)}, the net was trained on "
            f"{', '.join(trained.class_names)}; name a folder of those with --data_dir"
        )
    images, _ = photo_input.readable(images.only(images.of_split(flags.split)))
    if not images.paths:
        raise UsageError(f"there are no {flags.split} images in '{folder}'; name another split")
    print(f"Evaluating '{trained.prefix}', step {trained.step}.")
    output = pathlib.Path(flags.output_dir or pathlib.Path(trained.prefix).parent / "evaluation")
    output.mkdir(parents=True, exist_ok=True)
    logits = split_logits(trained, images)
    reports.report_split(output, images, logits, trained.image_size, flags.split)


if __name__ == "__main__":
    sys.exit(main())
