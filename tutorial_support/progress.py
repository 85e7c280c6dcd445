"""Progress bars, on standard error and only where that is a terminal; and work done ahead."""

import concurrent.futures
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


def ahead(function, arguments):
    """Yields what `function` returns for each argument; a thread computes the next meanwhile.

    Args:
        function: called in the order of the arguments; it must not depend on what the caller does.
        arguments: iterable.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        waiting = None
        for argument in arguments:
            following = thread.submit(function, argument)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
