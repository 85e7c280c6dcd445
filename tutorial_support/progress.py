"""Progress bars, on standard error and only where that is a terminal."""

import sys

from tqdm import tqdm


def bar(total, description, unit="step", initial=0, **options):
    """Returns a tqdm bar that counts from `initial` to `total`, silent without a terminal."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        dynamic_ncols=True,
        leave=False,
        disable=None,  # tqdm then asks whether the stream is a terminal
        file=sys.stderr,
        **options,
    )


def say(text):
    """Prints a line on standard output without breaking a bar that is being shown."""
    tqdm.write(text, file=sys.stdout)
