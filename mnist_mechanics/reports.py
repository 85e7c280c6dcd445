"""What is printed and drawn about a net's predictions."""

from mnist_mechanics import mnist
from tutorial_support import classification, events, plots, progress

EVALUATION_BATCH = 1000  # images
SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}
CLASS_NAMES = [str(digit) for digit in range(mnist.NUM_CLASSES)]


def say_step(step, loss_value, duration):
    """Prints the original's line on a training step; `duration` is in seconds."""
    progress.say(f"Step {step}: loss = {loss_value:.2f} ({duration:.3f} sec)")


def say_split(split):
    """Prints the original's line that precedes the evaluation of a split, one of SPLITS."""
    progress.say(f"{SPLITS[split]} Data Eval:")


def say_precision(num_examples, num_correct):
    """Prints the original's line on an evaluation and returns the share of correct predictions."""
    precision = num_correct / max(num_examples, 1)
    progress.say(
        f"Num examples: {num_examples}  Num correct: {num_correct}  "
        f"Precision @ 1: {precision:0.04f}"
    )
    return precision


def write_precision(writer, split, precision, step):
    """Writes the precision on a split to the event file."""
    events.write_scalar(writer, f"precision/{split}", precision, step)


def write_accuracy(writer, data_set, num_correct, step):
    """Writes the accuracy on the validation set to the event file, for --summaries full."""
    events.write_scalar(
        writer, "accuracy/validation", num_correct / max(data_set.num_examples, 1), step
    )


def draw_run(run, data_set, logits):
    """Draws loss.png, precision.png and misclassified.png into a run folder.

    Args:
        run: runs.RunFolder, whose event files hold the curves.
        data_set: input_data.DataSet of the test images.
        logits: float32 [num_examples, NUM_CLASSES], the net's output for them, in their order.
    """
    scalars = events.scalars(run.path)
    losses = {"loss": scalars["loss"]} if "loss" in scalars else {}
    plots.curves(run.file("loss.png"), losses, "Loss of a training batch", "step", "nats")
    precisions = {
        split: scalars[f"precision/{split}"] for split in SPLITS if f"precision/{split}" in scalars
    }
    plots.curves(run.file("precision.png"), precisions, "Precision @ 1", "step", "share correct")
    classification.draw_mistakes(
        run.file("misclassified.png"),
        lambda chosen: (
            data_set.pixels[chosen].reshape(-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE) / 255
        ),
        data_set.labels,
        logits,
        CLASS_NAMES,
    )
    progress.say(f"Pictures: {run.path}/loss.png, precision.png, misclassified.png")
