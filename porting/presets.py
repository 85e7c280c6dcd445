"""Presets that map the variables of published programs to this project's names, and back.

Names and shapes come from the programs themselves. With a preset, this project's programs restore a
checkpoint of theirs, or the other way round. Its notes say what renaming cannot convert.
"""

import dataclasses
from collections.abc import Mapping

# Suffixes of a variable's name, for slots of optimizers and moving averages.
SUFFIXES = ("", "/ExponentialMovingAverage", "/Momentum")
STEP = "global_step"


@dataclasses.dataclass(frozen=True)
class Preset:
    """The correspondence between the checkpoints of one program and this project's.

    Attributes:
        program: the program that writes these checkpoints.
        names: {variable's name here: its possible names there, the usual one first}.
        their_steps: possible names of the step's variable there; empty if there is none.
        their_step_type: its type there, which `--back` writes.
        restored_by: the program here that reads the result.
        notes: remaining differences.
        notes_back: the same for the other direction.
        needs_averages: whether their evaluation restores only moving averages.
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
_NO_STEP = "It stores no step: global_step is 0, or the value of --step."

PRESETS = {
    "official_cifar10": Preset(
        "tensorflow/models, tutorials/image/cifar10",
        _OFFICIAL,
        (STEP, "Variable"),
        "int64",
        "cifar10_cnn",
        (
            "The nets differ in parts without variables: theirs normalizes with depth_radius 4, "
            "bias 1 and alpha 0.001/9, and in the second layer before pooling; this one with 5, 2 "
            "and 0.001, after pooling. So the weights fit, but the accuracy falls until you train "
            "further.",
            "The averages of their losses (.../avg) are left out.",
        ),
        (
            "cifar10_eval restores it. cifar10_train cannot resume from it, because the averages "
            "of the losses (.../avg) are missing.",
        ),
        needs_averages=True,
    ),
    "cookbook_cifar10": Preset(
        "the TensorFlow Machine Learning Cookbook's CIFAR-10 program",
        _COOKBOOK,
        ("Variable", STEP),
        "int32",
        "cifar10_cnn",
        ("The cookbook's program does not count its generations: the step is 0 without --step.",),
        ("Moving averages and the optimizer's slots are left out, because its Saver has none.",),
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
            "Only the head is converted. It must go into a run folder of flowers_transfer.retrain "
            "with the same base and the same classes in the same order.",
        ),
        ("Before TensorFlow 1.7, the scope of retrain.py was final_training_ops: rename it.",),
    ),
    "book_flowers": Preset(
        "the transfer learning program of chapter 6 of the book that flowers_transfer follows",
        {f"{_HEAD}weights": (f"{_HEAD}Variable",), f"{_HEAD}biases": (f"{_HEAD}Variable_1",)},
        (),
        "",
        "flowers_transfer",
        (
            _NO_STEP,
            "It must go into a run folder of flowers_transfer.retrain with the same base and the "
            "same classes in the same order.",
        ),
    ),
}
