"""Restores a trained head in a graph of its own and evaluates it on one split of the images.

python -m flowers_transfer.evaluate
python -m flowers_transfer.evaluate --checkpoint logs/flowers/model.ckpt-1000 --split validation
python -m flowers_transfer.evaluate --image_dir other_photos
"""

import pathlib
import sys

import tensorflow.compat.v1 as tf

from flowers_transfer import bottlenecks, head, reports, restored, retrain
from flowers_transfer import flags as training_flags
from tutorial_support import classification, feature_store, image_lists, sessions
from tutorial_support.programs import ArgumentParser, UsageError, program


def split_logits(trained, found, chosen):
    """Returns the head's output, float32 [n, classes], for the images `chosen` of `found`.

    Args:
        trained: restored.TrainedHead.
        found: bottlenecks.Bottlenecks.
        chosen: int array of indices.
    """
    with tf.Graph().as_default():
        bottleneck_input, _ = head.placeholder_inputs(found.size)
        logits = head.inference(bottleneck_input, len(trained.class_names))
        with tf.Session(config=sessions.config()) as sess:
            trained.restore(sess)
            return retrain.predict_logits(sess, logits, bottleneck_input, found, chosen)


@program
def main(argv=None):
    """Parses the flags and evaluates."""
    parser = ArgumentParser(__doc__)
    training_flags.add_checkpoint_flag(parser)
    parser.add_argument(
        "--split", choices=image_lists.SPLITS, default="testing", help="which images"
    )
    parser.add_argument("--image_dir", help="a folder of class folders; else that of the training")
    parser.add_argument("--bottleneck_dir", help="as in the training; by default the same one")
    parser.add_argument(
        "--output_dir", help="folder for the pictures; else evaluation in the run's"
    )
    flags = parser.parse_args(argv)

    trained = restored.find(flags.checkpoint)
    kept = trained.flags
    images = image_lists.create(
        flags.image_dir or kept["image_dir"],
        kept["testing_percentage"],
        kept["validation_percentage"],
        kept["split_seed"],
    )
    if list(images.class_names) != trained.class_names:
        raise UsageError(
            f"'{images.folder}' has the classes {', '.join(images.class_names)}, the head was "
            f"trained on {', '.join(trained.class_names)}; name a folder of those with --image_dir"
        )
    store = feature_store.store_folder(
        flags.bottleneck_dir or kept["bottleneck_dir"], images.folder, kept["base_digest"]
    )
    found = bottlenecks.of_images(trained.load_base(), trained.base, images, store)
    chosen = found.images.of_split(flags.split)
    if not len(chosen):
        raise UsageError(
            f"there are no {flags.split} images in '{images.folder}'; name another split"
        )
    logits = split_logits(trained, found, chosen)

    images = found.images.only(chosen)
    matrix, accuracy = classification.evaluated(images.labels, logits)
    print(f"Evaluating '{trained.prefix}', step {trained.step}.")
    print(f"Accuracy on the {flags.split} images = {accuracy:.1%} (N={len(chosen)})")
    classification.say_confusion(matrix, images.class_names)
    folder = pathlib.Path(flags.output_dir or pathlib.Path(trained.prefix).parent / "evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{flags.split.capitalize()} images, {accuracy:.1%} correct"
    reports.draw_test(folder, images, logits, matrix, title)
    print(f"Pictures: {folder}/confusion.png, misclassified.png")


if __name__ == "__main__":
    sys.exit(main())
