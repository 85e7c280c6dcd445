"""A trained head and its base, for evaluation, labelling and export."""

import dataclasses
import pathlib

import tensorflow.compat.v1 as tf

from flowers_transfer import base_graph, head
from tutorial_support import checkpoints, runs
from tutorial_support.programs import UsageError


@dataclasses.dataclass(frozen=True)
class TrainedHead:
    """What is known of a trained head.

    Attributes:
        prefix: its checkpoint.
        step: int, how many steps it was trained.
        class_names: list of strings.
        base: base_graph.Base.
        base_path: pathlib.Path of the base's frozen graph.
        flags: dict of the run's flags.
    """

    prefix: str
    step: int
    class_names: list
    base: base_graph.Base
    base_path: pathlib.Path
    flags: dict

    def load_base(self):
        """Returns the base's GraphDef, checked to be the one of the training."""
        graph_def = base_graph.load(self.base_path, self.base)
        if base_graph.digest(self.base_path, self.base) != self.flags["base_digest"]:
            raise UsageError(
                f"'{self.base_path}' is not the graph any more that '{self.prefix}' was trained "
                "on; put that one back, or train anew"
            )
        return graph_def

    def restore(self, sess):
        """Restores the head's variables, which must be in the session's graph."""
        variables = {v.op.name: v for v in tf.trainable_variables(head.SCOPE)}
        checkpoints.restore(tf.train.Saver(variables), sess, self.prefix, variables)


def find(path):
    """Returns the TrainedHead that `path`, a run folder or one checkpoint, names.

    Raises:
        UsageError: there is none, or its flags.json does not go with it.
    """
    prefix = checkpoints.find(path)
    folder = pathlib.Path(prefix).parent
    flags = runs.read_flags(folder)
    try:
        return TrainedHead(
            prefix,
            checkpoints.stored_step(prefix),
            flags["class_names"],
            base_graph.Base(**flags["base"]),
            pathlib.Path(flags["base_graph"]),
            flags,
        )
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"'{folder / runs.FLAGS_FILE}' does not tell the base and the classes of '{prefix}'; "
            "name a run of python -m flowers_transfer.retrain"
        ) from error
