"""What the variables of published programs are called there, and what they are called here.

Names and shapes were read in the programs themselves. A preset maps a checkpoint of theirs to one
that this project's programs restore, and back. It says what no renaming can bring over.
"""

import dataclasses
from collections.abc import Mapping

# Behind a variable's name: what an optimizer or a moving average keeps of it.
SUFFIXES = ("", "/ExponentialMovingAverage", "/Momentum")
STEP = "global_step"


@dataclasses.dataclass(frozen=True)
class Preset:
    """How the checkpoints of one program correspond to those of this project.

    Attributes:
        program: whose checkpoints these are.
        names: what each variable may be called there, the usual name first, by its name here.
        their_steps: what the variable that counts steps may be called there; empty for none.
        their_step_type: its type there, which `--back` writes.
        restored_by: the program here that reads the result.
        notes: what differs all the same.
        notes_back: the same, for the way back.
        needs_averages: whether their evaluation restores moving averages alone.
    """

    program: str
    names: Mapping[str, tuple[str, ...]]
    their_steps: tuple[str, ...]
    their_step_type: str
    restored_by: str
    notes: tuple[str, ...] = ()
    notes_back: tuple[str, ...] = ()
    needs_averages: bool = False


_CIFAR10 = "model_definition/"
_HEAD = "final_training_ops/"
_COOKBOOK = {
    f"{_CIFAR10}{layer}/{kind}": (f"{_CIFAR10}{layer}/{kind}",)
    for layer, number, kinds in (
        ("conv1", 1, "conv_kernel conv_bias"),
        ("conv2", 2, "conv_kernel conv_bias"),
        ("full1", 1, "full_mult full_bias"),
        ("full2", 2, "full_mult full_bias"),
        ("full3", 3, "full_mult full_bias"),
    )
    for kind in (f"{name}{number}" for name in kinds.split())
}
_OFFICIAL = dict(
    zip(
        _COOKBOOK,
        (
            (f"{layer}/{kind}",)
            for layer in ("conv1", "conv2", "local3", "local4", "softmax_linear")
            for kind in ("weights", "biases")
        ),
        strict=True,
    )
)
_NO_STEP = "It counts no steps: global_step is 0, or what --step says."

PRESETS = {
    "official_cifar10": Preset(
        "tensorflow/models, tutorials/image/cifar10",
        _OFFICIAL,
        (STEP, "Variable"),
        "int64",
        "cifar10_cnn",
        (
            "The nets differ in what has no variables: theirs normalizes with depth_radius 4, bias "
            "1 and alpha 0.001/9, and in the second layer before the pooling; this one with 5, 2 "
            "and 0.001, after it. So the weights fit, but the accuracy falls; training goes on "
            "from them.",
            "The averages of their losses (.../avg) are left out.",
        ),
        (
            "cifar10_eval restores it; cifar10_train does not go on with it, for the averages of "
            "the losses (.../avg) are not there.",
        ),
        needs_averages=True,
    ),
    "cookbook_cifar10": Preset(
        "the TensorFlow Machine Learning Cookbook's CIFAR-10 program",
        _COOKBOOK,
        ("Variable", STEP),
        "int32",
        "cifar10_cnn",
        ("Its own program never counts its generations: the step is 0 unless --step says more.",),
        ("Moving averages and the optimizer's slots are left out: its Saver knows none.",),
    ),
    "retrain": Preset(
        "retrain.py of TensorFlow's image retraining",
        {
            f"{_HEAD}weights": (
                "final_retrain_ops/weights/final_weights",
                f"{_HEAD}weights/final_weights",
            ),
            f"{_HEAD}biases": (
                "final_retrain_ops/biases/final_biases",
                f"{_HEAD}biases/final_biases",
            ),
        },
        (),
        "",
        "flowers_transfer",
        (
            _NO_STEP,
            "The head alone is converted. It needs a run folder of flowers_transfer.retrain with "
            "the same base and classes, in the same order, beside it.",
        ),
        ("Before retrain.py of TensorFlow 1.7 the scope was final_training_ops: rename it then.",),
    ),
    "book_flowers": Preset(
        "the transfer learning program of chapter 6 of the book that flowers_transfer follows",
        {f"{_HEAD}weights": (f"{_HEAD}Variable",), f"{_HEAD}biases": (f"{_HEAD}Variable_1",)},
        (),
        "",
        "flowers_transfer",
        (
            _NO_STEP,
            "It needs a run folder of flowers_transfer.retrain with the same base and classes, in "
            "the same order, beside it.",
        ),
    ),
}
