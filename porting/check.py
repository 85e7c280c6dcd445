"""Lists the parts of a TensorFlow 1 program that fail on the installed TensorFlow.

    python -m porting.check my_project
    python -m porting.check train.py notebook.ipynb --format json
    python -m porting.check my_project --fix ported

The files are read, not run. Every TensorFlow or Keras name in them is looked up in the installed
packages, TensorFlow 1 names in `tensorflow.compat.v1`. The arguments of calls are compared with
today's signatures. For each finding, the guide PORTING.md says what to do.

Exit codes: 0, nothing is missing, or --fix has changed all of it; 1, something is missing; 2, a
usage error, or a file that you named cannot be read.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import sys
from collections.abc import Container, Sequence

from porting import findings, fixes, sources
from porting.findings import Finding, Report
from tutorial_support.programs import ArgumentParser, UsageError, one_line, program


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__)
    paths = "A Python file, a notebook or a folder."
    parser.add_argument("paths", nargs="+", metavar="PATH", help=paths)
    checking = parser.add_argument_group("checking")
    checking.add_argument(
        "--exclude",
        action="append",
        metavar="GLOB",
        help="Leave out files whose path matches, such as 'old/*'; may be repeated.",
    )
    checking.add_argument(
        "--format", choices=["text", "json"], default="text", help="The format of the report."
    )
    fixing = parser.add_argument_group("fixing")
    how = fixing.add_mutually_exclusive_group()
    how.add_argument(
        "--fix",
        metavar="FOLDER",
        help="Make the safe changes (imports of compat.v1, renamed arguments) in copies of the "
        "files in this folder, and list what is left.",
    )
    how.add_argument(
        "--fix_in_place", action="store_true", help="Make these changes in the files themselves."
    )
    return parser.parse_args(argv)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Checks files; returns 1 if something is missing, else 0."""
    flags = _parse(argv)
    files = [sources.read(path) for path in sources.find(flags.paths, flags.exclude or ())]
    for file in files:
        if file.problem and file.path in map(pathlib.Path, flags.paths):
            raise UsageError(f"'{file.path}' cannot be read: {file.problem}")
    report = findings.judge(files)
    fixed = {}
    if flags.fix or flags.fix_in_place:
        folder = None if flags.fix_in_place else pathlib.Path(flags.fix)
        fixed = fixes.fix(files, report.findings, folder)
    if flags.format == "json":
        json.dump(_as_json(report, fixed), sys.stdout, indent=1)
        print()
    else:
        _print(report)
        if flags.fix or flags.fix_in_place:
            _print_fixed(report, fixed)
        _print_conclusion(report, fixed)
    return int(bool(_left(report, fixed)))


def _left(report: Report, fixed: Container[pathlib.Path]) -> list[Finding]:
    """Returns what fails, without what was changed in the files of `fixed`."""
    failing = (finding for finding in report.findings if not finding.warning)
    return [finding for finding in failing if not (finding.change and finding.file in fixed)]


def _summary(report: Report) -> list[dict]:
    """Returns what is missing, grouped by name, with the most frequent name first."""
    by_name: dict[str, list[Finding]] = collections.defaultdict(list)
    for finding in report.findings:
        if not finding.warning:
            by_name[finding.name].append(finding)
    rows = [
        {
            "name": name,
            "uses": len(group),
            "files": len({finding.file for finding in group}),
            "remedy": group[0].remedy,
            "guide": group[0].guide,
        }
        for name, group in by_name.items()
    ]
    return sorted(rows, key=lambda row: (-row["uses"], row["name"]))


def _as_json(report: Report, fixed: dict[pathlib.Path, pathlib.Path]) -> dict:
    installed = report.installed
    return {
        "tensorflow": installed.tensorflow,
        "keras": installed.keras,
        "tf_keras": installed.tf_keras,
        "files": report.files,
        "uses_passed": len(report.passed),
        "missing": [_finding(f, fixed) for f in report.findings if not f.warning],
        "warnings": [_finding(f, fixed) for f in report.findings if f.warning],
        "summary": _summary(report),
        "fixed": {str(old): str(new) for old, new in fixed.items()},
    }


def _finding(finding: Finding, fixed: dict[pathlib.Path, pathlib.Path]) -> dict:
    return {
        "file": str(finding.file),
        "cell": finding.cell,
        "line": finding.line,
        "column": finding.column,
        "kind": finding.kind,
        "name": finding.name,
        "remedy": finding.remedy,
        "guide": finding.guide,
        "fixed": bool(finding.change) and finding.file in fixed,
    }


def _print(report: Report) -> None:
    for finding in report.findings:
        place = f"{finding.line}" if finding.cell is None else f"cell {finding.cell}:{finding.line}"
        level = "warning: " if finding.warning else ""
        sentence = f"{level}{finding.name}: {finding.remedy} ({finding.guide})"
        print(one_line(f"{finding.file}:{place}: {sentence}"))
    summary = _summary(report)
    if summary:
        print("\nMissing, by name:")
    for row in summary:
        uses = f"{row['uses']} use{'s' * (row['uses'] > 1)}"
        in_files = f"{row['files']} file{'s' * (row['files'] > 1)}"
        print(one_line(f"  {row['name']}: {uses} in {in_files} ({row['guide']})"))
    print()


def _print_fixed(report: Report, fixed: dict[pathlib.Path, pathlib.Path]) -> None:
    for old, new in fixed.items():
        print(one_line(f"Fixed: {old}" + (f" -> {new}" if new != old else "")))
    if any(new != old for old, new in fixed.items()):
        print("Only the changed files were written: copy them over the program's.")
    left = [f for f in report.findings if not (f.change and f.file in fixed)]
    print(f"Findings: {len(report.findings) - len(left)} fixed, {len(left)} left.")
    for (name, guide), count in collections.Counter((f.name, f.guide) for f in left).most_common():
        print(one_line(f"  {name}: {count} ({guide})"))
    print()


def _print_conclusion(report: Report, fixed: Container[pathlib.Path]) -> None:
    missing = len({finding.file for finding in _left(report, fixed)})
    verb = "uses" if missing == 1 else "use"
    if fixed:
        verb = f"still {verb}"
    versions = f"TensorFlow {report.installed.tensorflow} with Keras {report.installed.keras}"
    print(f"{missing} of {report.files} files {verb} what is missing from {versions}.")


if __name__ == "__main__":
    sys.exit(main())
