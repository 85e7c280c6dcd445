"""Exports a trained net as a SavedModel and as a frozen graph, for use in other programs.

    python -m mnist_mechanics.export
    python -m mnist_mechanics.export --checkpoint logs/mnist_feed --output_dir my_model

In plain TensorFlow 2:

    model = tf.saved_model.load("my_model/saved_model")
    answer = model.signatures["serving_default"](images=tf.constant(pixels))
    answer["classes"], answer["probabilities"]

Here `pixels` is float32 [n, 784] in [0, 1], where 1 is ink and 0 is paper.
"""

import sys

from tutorial_support import programs

if __name__ == "__main__":
    programs.before_tensorflow()

from mnist_mechanics.trained import TrainedNet
from tutorial_support import drivers

main = programs.program(lambda argv: drivers.export(TrainedNet, __doc__, argv))

if __name__ == "__main__":
    sys.exit(main())
