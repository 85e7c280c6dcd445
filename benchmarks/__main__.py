"""Compares the speed of this package with that of other libraries on the same work.

    python -m benchmarks                      (all of them)
    python -m benchmarks mnist cifar10
    python -m benchmarks mnist --batch_sizes 32 100 1024 --threads 1 2

Contestants take turns. A table shows the medians of several rounds, their range, and ratios. A JSON
file and a bar chart hold the same figures; for several batch sizes, a line chart as well.
"""

import importlib
import json
import os
import pathlib
import platform
import sys

from benchmarks import contest, limits
from tutorial_support import files
from tutorial_support.programs import ArgumentParser, number, program

NAMES = ("mnist", "cifar10", "flowers", "extraction", "catsdogs")
SHORTEST_TURN = 2.0  # seconds


def machine():
    """Returns a dict that describes the machine and the libraries."""
    import numpy as np

    model = [
        line.partition(":")[2].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "best product, GFLOP/s": round(limits.best_product() / 1e9, 1),
        "best copy, GB/s": round(limits.best_copy() / 1e9, 1),
    }


def say(title, results, base, unit):
    """Prints a table."""
    medians = {result.name: result.median for result in results}
    width = max(map(len, medians))
    print(f"\n{title}\n{'':{width}}  {unit:>10}   lowest..highest   peak MB    x {base}")
    for result in results:
        low, high = min(result.rates), max(result.rates)
        ratio = f"{result.median / medians[base]:8.2f}" if base in medians else ""
        spread = f"{low:.4g}..{high:.4g}"
        print(
            f"{result.name:{width}}  {result.median:10.4g}   {spread:>15}{result.peak:10}   {ratio}"
        )


def draw(path, title, results, unit):
    """Draws the medians as bars, with error bars from the lowest to the highest rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.45 * len(results) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    medians = [result.median for result in results]
    low = [result.median - min(result.rates) for result in results]
    high = [max(result.rates) - result.median for result in results]
    colours = ["C0" if result.name.startswith("here") else "0.7" for result in results]
    axes.barh([result.name for result in results], medians, xerr=[low, high], color=colours)
    axes.invert_yaxis()
    axes.set(title=title.partition(":")[0], xlabel=unit)
    figure.savefig(path)


@program
def main(argv=None):
    """Parses the flags and runs the benchmarks."""
    parser = ArgumentParser(__doc__)
    names = f"The benchmarks to run, by default all: {', '.join(NAMES)}."
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    add = parser.add_argument_group("measurement").add_argument
    add("--rounds", type=number(int, 1), default=7, help="Rounds per contestant.")
    threads = "Numbers of processors to allow; by default all, in one run."
    add("--threads", type=number(int, 1), nargs="+", help=threads)
    batches = "Batch sizes to measure; by default the benchmark's own."
    add("--batch_sizes", type=number(int, 1), nargs="+", help=batches)
    folder = "The folder for the JSON file and the charts."
    output = parser.add_argument_group("output")
    output.add_argument("--output_dir", default="benchmark_results", help=folder)
    flags = parser.parse_args(argv)
    unknown = set(flags.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark '{unknown.pop()}'; name one of {', '.join(NAMES)}")
    folder = pathlib.Path(flags.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    where = machine()
    print(", ".join(f"{name}: {value}" for name, value in where.items()))
    for name in flags.names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        grown = {}  # (contestant, processors) -> [(batch, examples per second)]
        for batch in flags.batch_sizes or [module.BATCH]:
            for threads in flags.threads or [None]:
                title, results = measure(module, batch, threads, flags.rounds)
                say(title, results, module.BASE, module.UNIT)
                label = f"{name}_batch{batch}" + (f"_threads{threads}" if threads else "")
                hidden = getattr(module, "NOT_DRAWN", ())
                drawn = [result for result in results if result.name not in hidden]
                draw(folder / f"{label}.png", title, drawn, module.UNIT)
                record = {"machine": where, "unit": module.UNIT, "title": title}
                record["rates"] = {result.name: result.rates for result in results}
                files.write_text(folder / f"{label}.json", json.dumps(record, indent=1) + "\n")
                each = 1 if module.UNIT == "images/s" else batch
                for result in drawn:
                    line = grown.setdefault((result.name, threads), [])
                    line.append((batch, each * result.median))
        if flags.batch_sizes and len(flags.batch_sizes) > 1:
            draw_growth(folder / f"{name}_growth.png", name, grown)


def measure(module, batch, threads, rounds):
    """Runs the contestants of a benchmark; returns (title, list of contest.Result)."""
    title = module.__doc__.splitlines()[0].replace(f"batch {module.BATCH}", f"batch {batch}")
    title += f" (processors: {threads})" if threads else ""
    # The same number of examples per turn for every batch size.
    steps = {
        contestant: max(1, round(count * module.BATCH / batch))
        for contestant, count in module.STEPS.items()
    }
    scale = batch if module.UNIT == "images/s" else 1
    os.environ["BENCHMARK_BATCH"] = str(batch)
    try:
        results = contest.run(
            module.__name__, module.CONTESTANTS, steps, rounds, threads, scale, SHORTEST_TURN
        )
    finally:
        del os.environ["BENCHMARK_BATCH"]
    return title, results


def draw_growth(path, name, grown):
    """Plots examples per second by batch size, with one line per contestant.

    Args:
        path: the file of the plot.
        name: the name of the benchmark.
        grown: {(contestant, processors): list of (batch, examples per second)}.
    """
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(threads for _, threads in grown))
    figure = Figure(figsize=(4 + 4 * len(panels), 5), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        for (contestant, threads), points in grown.items():
            if threads == panel:
                style = "-" if contestant.startswith("here") else "--"
                columns = zip(*points, strict=True)
                axes.plot(*columns, style, marker="o", markersize=3, label=contestant)
        batches = sorted({batch for points in grown.values() for batch, _ in points})
        axes.set(xscale="log", yscale="log", xlabel="batch")
        axes.set_title(f"{name}, processors: {panel}" if panel else name)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.xaxis.minorticks_off()
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("examples per second")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
