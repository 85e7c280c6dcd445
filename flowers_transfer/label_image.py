"""Labels pictures with a trained head, prepared exactly as in its training.

python -m flowers_transfer.label_image rose.jpg holiday_photos/
python -m flowers_transfer.label_image --json --top 1 holiday_photos/ > labels.json
"""

import json
import os
import pathlib
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from flowers_transfer import bottlenecks, head, restored
from flowers_transfer import flags as training_flags
from tutorial_support import classification, image_lists, sessions
from tutorial_support.programs import ArgumentParser, UsageError, number, program


def picture_files(names):
    """Returns the named files, and of the named folders every picture in them and below."""
    paths = []
    for path in map(pathlib.Path, names):
        if path.is_dir():
            paths += sorted(
                pathlib.Path(folder, name)
                for folder, _, members in os.walk(path)
                for name in members
                if name.lower().endswith(image_lists.ENDINGS)
            )
        else:
            paths.append(path)
    return paths


def labelled(trained, paths):
    """Yields, for each picture, its probabilities, float [classes], or the UsageError of a bad one.

    Args:
        trained: restored.TrainedHead.
        paths: PNG or JPEG files.
    """
    with (
        bottlenecks.Extractor(trained.load_base(), trained.base) as extractor,
        tf.Graph().as_default(),
    ):
        bottleneck_input, _ = head.placeholder_inputs(extractor.bottleneck_size)
        logits = head.inference(bottleneck_input, len(trained.class_names))
        with tf.Session(config=sessions.config()) as sess:
            trained.restore(sess)
            for prepared in extractor.prepare_all((path,) for path in paths):
                if isinstance(prepared, UsageError):
                    yield prepared
                    continue
                vector = extractor.bottlenecks(prepared[np.newaxis])
                yield classification.softmax(sess.run(logits, {bottleneck_input: vector}))[0]


@program
def main(argv=None):
    """Parses the flags and labels; a bad picture does not keep the others from it."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a PNG or JPEG, or a folder")
    parser.add_argument("--top", type=number(int, 1), default=5, help="likeliest labels to print")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    training_flags.add_checkpoint_flag(parser)
    flags = parser.parse_args(argv)

    trained = restored.find(flags.checkpoint)
    paths = picture_files(flags.pictures)
    if not paths:
        raise UsageError(f"no PNG or JPEG file in {', '.join(flags.pictures)}; name another folder")
    results, refused = [], []
    for path, probabilities in zip(paths, labelled(trained, paths), strict=True):
        if isinstance(probabilities, UsageError):
            refused.append(str(probabilities))
            continue
        top = np.argsort(-probabilities, kind="stable")[: flags.top]
        labels = [(trained.class_names[i], float(probabilities[i])) for i in top]
        results.append(
            {"image": str(path), "labels": [{"label": n, "score": s} for n, s in labels]}
        )
        if not flags.json:
            print(path)
            for name, score in labels:
                print(f"  {name} (score = {score:.5f})")
    if flags.json:
        print(json.dumps(results, indent=2))
    if refused:
        raise UsageError("\nerror: ".join(refused))


if __name__ == "__main__":
    sys.exit(main())
