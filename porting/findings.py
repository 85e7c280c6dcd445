"""Compares the names that programs use with those of the installed TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from porting import graphs, remedies
from porting.installed import Answer, Installed, Question, ask
from porting.names import uses_of
from porting.project import Project
from porting.sources import Source
from porting.uses import SWITCH, V1, Call, Import, Use, Uses, is_part

# Packages of TensorFlow with the same name in every version; compat.v1 does not have them.
_NOT_IN_V1 = {"compat", "python", "core", "compiler", "tools", "examples", "contrib", "_api"}
_MAKES_GRAPHS_DEFAULT = {"disable_v2_behavior", "disable_eager_execution"}
_KEEPS_DIMENSIONS = {"disable_v2_behavior", "disable_v2_tensorshape"}
_LABELS_FIRST_SINCE_1_0 = {
    "tf.nn.softmax_cross_entropy_with_logits",
    "tf.nn.sparse_softmax_cross_entropy_with_logits",
    "tf.nn.sigmoid_cross_entropy_with_logits",
}
_AXIS_FIRST_BEFORE_1_0 = {
    "tf.concat": (2, "tf.concat(values, axis)"),
    "tf.split": (3, "tf.split(value, num_or_size_splits, axis)"),
}
_LABELS_SECOND_BEFORE_1_0 = {"tf.nn.nce_loss", "tf.nn.sampled_softmax_loss"}

# Arguments that Keras 2 or 1 took, and what takes their place in Keras 3.
_GONE_FROM_KERAS = {
    "lr": "write learning_rate=",
    "batch_input_shape": "begin with keras.Input(batch_shape=...)",
    "border_mode": "write padding=",
    "dim_ordering": "write data_format=",
    "dynamic": "leave it out",
    "fused": "leave it out",
    "init": "write kernel_initializer=",
    "input": "write inputs=",
    "input_length": "leave it out",
    "output": "write outputs=",
    "output_dim": "write units=",
    "p": "write rate=",
    "subsample": "write strides=",
    "time_major": "transpose the input",
    "weights": "call set_weights once the layer is built",
}
# Methods that a Keras model no longer has.
_GONE_METHODS = {
    "fit_generator": "it is gone: pass the generator to fit",
    "evaluate_generator": "it is gone: pass the generator to evaluate",
    "predict_generator": "it is gone: pass the generator to predict",
    "predict_classes": "it is gone: write predict(x).argmax(-1), or predict(x) > 0.5",
}


@dataclasses.dataclass(frozen=True)
class Change:
    """A change that `--fix` may make: it replaces `old` at a position with `new`.

    Line and column are those of `ast`: lines from 1, columns from 0 in bytes of UTF-8.
    """

    line: int
    column: int
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that fails on the installed TensorFlow, or that runs but is outdated (warning).

    Attributes:
        kind: "import", "gone", "keras 2", "newer", "argument", "dimension", "graph", "python 2" or
            "unreadable".
        cell: the number of the code cell in a notebook, counted from 1, else None.
        line, column: counted from 1; in a notebook, the line within the cell.
        name: as programs write it, such as "tf.layers.dense".
        remedy: one sentence.
        guide: the section of the guide, such as "PORTING.md#tflayers".
        change: a safe fix, or None.
    """

    file: pathlib.Path
    cell: int | None
    line: int
    column: int
    kind: str
    name: str
    remedy: str
    guide: str
    warning: bool = False
    change: Change | None = None


@dataclasses.dataclass
class Report:
    """The findings of `porting.check`.

    Attributes:
        files: the number of checked files.
        findings: sorted by file and line.
        passed: (file, line, name) of every use whose name exists.
    """

    installed: Installed
    files: int
    findings: list[Finding]
    passed: list[tuple[pathlib.Path, int, str]]


def judge(sources: Sequence[Source]) -> Report:
    """Looks up every name that the sources use.

    Raises:
        UsageError: TensorFlow is not installed, or cannot be imported.
    """
    files = [(source, _uses(source)) for source in sources]
    installed = ask(_questions(use for _, uses in files for use in uses.names))
    project = Project([(source.path, uses) for source, uses in files])
    builders = graphs.builders((uses for _, uses in files), project.modules)
    judge_one = _Judge(installed, builders)
    called = project.called_with(_MAKES_GRAPHS_DEFAULT | _KEEPS_DIMENSIONS)
    of_v1 = {index for index, (_, uses) in enumerate(files) if judge_one.is_of_v1(uses)}
    of_v1 = project.connected(of_v1)
    for index, (source, uses) in enumerate(files):
        judge_one.file(source, uses, called[index], index in of_v1)
    findings = sorted(
        judge_one.findings, key=lambda f: (str(f.file), f.cell or 0, f.line, f.column)
    )
    return Report(installed, len(sources), findings, judge_one.passed)


def _uses(source: Source) -> Uses:
    try:
        return uses_of(source.tree)
    except RecursionError:
        source.problem = "its expressions are nested too deeply"
        return Uses()


# These are in both versions and run, but do something else in TensorFlow 2.
_CHANGED = (
    *("tf.Variable", "tf.data", "tf.image.resize", "tf.losses", "tf.metrics", "tf.nn.dropout"),
    *("tf.random_normal_initializer", "tf.random_uniform_initializer", "tf.saved_model"),
    *("tf.summary", "tf.where"),
)


def _in_v1(name: str) -> str:
    """Returns the name in compat.v1 of a TensorFlow 1 name."""
    root, _, rest = name.partition(".")
    if root != "tensorflow" or rest.partition(".")[0] in _NOT_IN_V1:
        return name
    return f"{V1}.{rest}" if rest else V1


def _key(call: Call) -> tuple[int | None, tuple[str, ...]]:
    return call.positional, call.keywords


def _questions(uses: Iterable[Use]) -> list[Question]:
    """Returns each name once, as written and in compat.v1, with all its calls.

    Imports come last: importing a module such as tf.layers replaces the one that says that its
    functions need Keras 2.
    """
    calls = defaultdict(set)
    for use in uses:
        for name in {use.name, _in_v1(use.name)}:
            calls[name, use.access].update([_key(use.call)] if use.call else [])
    return [
        Question(name, access, tuple(sorted(calls[name, access], key=str)))
        for name, access in sorted(calls, key=lambda key: (key[1] == "import", key))
    ]


def _as_written(name: str) -> str:
    return name.replace("tensorflow.", "tf.", 1)


def _fails(answer: Answer, use: Use) -> bool:
    """Returns whether a use of a name would fail."""
    if not answer.found:
        return True
    problems = answer.problems.get(_key(use.call), []) if use.call else []
    return any(kind != "deprecated" for kind, *_ in problems)


class _Judge:
    """Collects findings, changes and passed uses, file by file."""

    def __init__(self, installed: Installed, builders: set[str]):
        self.installed = installed
        self._builders = builders
        self._switched = False  # whether the file that is judged chooses Keras 2
        self.findings: list[Finding] = []
        self.passed: list[tuple[pathlib.Path, int, str]] = []

    def is_of_v1(self, uses: Uses) -> bool:
        """Returns whether a file uses names that only TensorFlow 1 has, or compat.v1 itself."""
        by_import = _by_import(uses)
        return any(self._needs(group)[0] for group in by_import.values()) or any(
            bound_by.module.startswith(V1) for bound_by in by_import
        )

    def file(self, source: Source, uses: Uses, called: set[str], is_of_v1: bool) -> None:
        """Judges one file.

        Args:
            source, uses: the file.
            called: the switches that are called in its process.
            is_of_v1: whether it, or what it is imported with, uses TensorFlow 1's names.
        """
        self._source = source
        self._switched = uses.sets_switch and not self.installed.switch_is_set
        self._syntax(source)
        by_import = _by_import(uses)
        # A file with an import of its own has chosen what it takes from where.
        has_v1 = any(bound_by.module.startswith(V1) for bound_by in by_import)
        for bound_by, group in by_import.items():
            self._import(bound_by, group, is_of_v1 and not has_v1)
        if not called & _KEEPS_DIMENSIONS:
            for line, column in uses.dimension_values:
                self._add(
                    "dimension",
                    line,
                    column,
                    "shape[i].value",
                    "a dimension is an int or None in TensorFlow 2: leave out `.value`",
                    remedies.NAMES,
                )
        uses_keras = any("keras" in use.name.split(".") for use in uses.names)
        if uses_keras and not (self._switched or self.installed.switch_is_set):
            for name, line, column in uses.methods:
                if name in _GONE_METHODS:
                    remedy = _GONE_METHODS[name]
                    self._add("gone", line, column, f"Model.{name}", remedy, remedies.KERAS)
        if not called & _MAKES_GRAPHS_DEFAULT:
            for line, column, name, sentence in graphs.findings(uses, self._builders):
                self._add("graph", line, column, name, sentence, remedies.SESSIONS)

    def _syntax(self, source: Source) -> None:
        if source.problem:
            self._add("unreadable", 1, 0, source.path.name, source.problem, remedies.PYTHON)
        elif source.left_out:
            count = len(source.left_out)
            lines = "1 line is" if count == 1 else f"{count} lines are"
            sentence = f"{lines} not Python and could not be checked"
            self._add("unreadable", source.left_out[0], 0, "syntax", sentence, remedies.PYTHON)
        elif source.not_utf8:
            sentence = "Python 3 cannot decode this line: save the file as UTF-8"
            self._add("unreadable", source.not_utf8, 0, "encoding", sentence, remedies.PYTHON)
        if source.python2 and not source.left_out:
            sentence = "Python 3 cannot read this line: convert the file to Python 3 first"
            self._add("python 2", source.python2, 0, "Python 2 syntax", sentence, remedies.PYTHON)

    def _add(
        self, kind: str, line: int, column: int, name: str, sentence: str, section: str, **more
    ) -> None:
        cell, line = self._source.place(line)
        place = (self._source.path, cell, line, column + 1)
        guide = f"{remedies.GUIDE}#{section}"
        self.findings.append(Finding(*place, kind, name, sentence, guide, **more))

    def _answer(self, name: str, use: Use) -> Answer:
        answer = self.installed.answers[name, use.access]
        if self._switched and answer.found_by_switch:
            return dataclasses.replace(answer, found=True)
        return answer

    def _plain(self, use: Use) -> Answer:
        return self._answer(use.name, use)

    def _v1(self, use: Use) -> Answer:
        return self._answer(_in_v1(use.name), use)

    def _needs(self, uses: list[Use]) -> tuple[list[Use], list[Use]]:
        """Returns the uses that work only in compat.v1, if they are more, and only outside."""
        only_in_v1, only_in_v2 = [], []
        for use in uses:
            fails_plain, fails_v1 = _fails(self._plain(use), use), _fails(self._v1(use), use)
            if fails_plain and not fails_v1 and not self._is_spared(use, self._plain(use)):
                only_in_v1.append(use)
            elif fails_v1 and not fails_plain:
                only_in_v2.append(use)
        return (only_in_v1 if len(only_in_v1) > len(only_in_v2) else []), only_in_v2

    def _is_spared(self, use: Use, answer: Answer) -> bool:
        """Returns whether a program goes on although a use fails, or never comes to it."""
        problem = "argument" if answer.found else "missing"
        return problem in use.survives or (
            bool(use.instead_of) and not any(_fails(self._plain(u), u) for u in use.instead_of)
        )

    def _import(self, bound_by: Import, uses: list[Use], is_of_v1: bool) -> None:
        """Judges an import and every use of what it binds."""
        only_in_v1, only_in_v2 = self._needs(uses)
        missing_names = any(
            not use.imports_module and use.line == bound_by.line and not self._found(use)
            for use in uses
        )
        others = [
            use
            for use in uses
            if self._plain(use).differs and is_part(remedies.short(use.name), _CHANGED)
        ]
        becomes_v1 = bool(only_in_v1)
        if becomes_v1:
            self._needs_v1(bound_by, only_in_v1, missing_names, "it has")
        elif is_of_v1 and others and not only_in_v2 and _in_v1(bound_by.module) != bound_by.module:
            becomes_v1 = True
            why = "TensorFlow 2 changed the meaning of"
            self._needs_v1(bound_by, others, missing_names, why)
        for use in uses:
            if use.by_star and not self._found(use):
                continue  # another module's, or defined in a way that is not seen
            # Report the names imported from a missing module, but not the module as well.
            if not (use.imports_module and missing_names and not self._found(use)):
                self._use(use, becomes_v1)

    def _found(self, use: Use) -> bool:
        return self._v1(use).found or self._plain(use).found

    def _needs_v1(self, bound_by: Import, uses: list[Use], is_missing: bool, why: str) -> None:
        names = sorted({remedies.short(use.name) for use in uses})
        examples = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        module = _in_v1(bound_by.module)
        self._add(
            "import",
            bound_by.line,
            bound_by.column,
            f"import {bound_by.module}",
            f"import {module} instead: {why} {examples}",
            remedies.SESSIONS,
            # An import of a name that compat.v1 lacks as well would still fail.
            change=None if is_missing else _import_change(bound_by, self._source.text),
        )

    def _use(self, use: Use, import_becomes_v1: bool) -> None:
        name = remedies.short(use.name)
        plain, v1 = self._plain(use), self._v1(use)
        if unusable := remedies.unusable(name):
            if not (use.imports_module and hasattr(use.bound_by.node, "names")):
                self._add("gone", use.line, use.column, name, *unusable)
            return
        answer = v1 if import_becomes_v1 else plain
        if _fails(answer, use) and self._is_spared(use, answer):
            return
        place = (use.line, use.column)
        if answer.found:
            is_v1 = import_becomes_v1 or use.name.startswith(V1)
            if not self._arguments(use, name, answer, is_v1):
                self.passed.append((self._source.path, use.line, name))
        elif plain.found:
            sentence = "compat.v1 lacks it: also `import tensorflow as tf2`, and use tf2's"
            self._add("newer", *place, name, sentence, remedies.NAMES)
        elif v1.found:
            sentence = f"it is only in compat.v1: write {_as_written(_in_v1(use.name))}"
            self._add("gone", *place, name, sentence, remedies.SESSIONS)
        else:
            self._gone(use, name, plain, v1)

    def _gone(self, use: Use, name: str, plain: Answer, v1: Answer) -> None:
        sentence, section = remedies.remedy(name)
        renamed = v1.renamed or plain.renamed
        if renamed:
            sentence = f"it is now called {renamed}"
        kind = "gone"
        if v1.found_by_switch or plain.found_by_switch:
            kind = "keras 2"
            sentence += f"; or set {SWITCH}=1 before the first import, which brings it back"
        elif "Keras 3" in v1.why + plain.why and self._switched:
            kind = "keras 2"
            sentence = f"install tf_keras, which {SWITCH}=1 in this file needs"
        elif "Keras 3" in v1.why + plain.why and not self.installed.switch_is_set:
            kind = "keras 2"
            sentence += f"; or install tf_keras and check again with {SWITCH}=1 set"
        self._add(kind, use.line, use.column, name, sentence, section)

    def _arguments(self, use: Use, name: str, answer: Answer, is_v1: bool) -> bool:
        """Judges the arguments of a call; returns whether one of them fails."""
        if use.call is None:
            return False
        failed = False
        place = (use.line, use.column)
        old_order = self._old_order(name, use.call) if is_v1 else ""
        for kind, argument, replacement in answer.problems.get(_key(use.call), []):
            if kind == "deprecated":
                self._deprecated(use, name, argument, replacement)
                continue
            if kind == "twice" and old_order:
                continue
            failed = True
            sentence = {
                "unknown": f"it takes no argument {argument}",
                "too many": f"it takes at most {argument} positional arguments",
                "twice": f"it gets {argument}= and also a positional argument in its place",
                "named only": "pass its arguments by name",
            }[kind]
            section = remedies.NAMES
            if kind == "unknown" and "keras." in name and argument in _GONE_FROM_KERAS:
                sentence = f"Keras 3 refuses {argument}=: {_GONE_FROM_KERAS[argument]}"
                section = remedies.KERAS
            label = f"{name}({argument}=)" if kind == "unknown" else name
            self._add("argument", *place, label, sentence, section)
        if old_order and not failed:
            self._add("argument", *place, name, old_order, remedies.NAMES)
        if is_v1 and name in _LABELS_SECOND_BEFORE_1_0 and (use.call.positional or 0) > 3:
            sentence = "labels came after inputs before 1.0: pass both by name"
            self._add("argument", *place, name, sentence, remedies.NAMES, warning=True)
        return failed or bool(old_order)

    def _old_order(self, name: str, call: Call) -> str:
        if name in _LABELS_FIRST_SINCE_1_0 and call.positional:
            return "pass the arguments by name, labels=, logits=: their order changed in 1.0"
        positional, today = _AXIS_FIRST_BEFORE_1_0.get(name, (0, ""))
        axis_first = call.number_first or (name == "tf.concat" and call.list_second)
        number = (call.positional or 0) + len({"values", "value"} & set(call.keywords))
        if positional and axis_first and number >= positional:
            return f"the axis came first before 1.0: write {today}"
        return ""

    def _deprecated(self, use: Use, name: str, argument: str, replacement: str) -> None:
        nodes = [node for node in use.call.nodes if node.arg == argument] if use.call else []
        change = None
        if nodes:
            change = Change(nodes[0].lineno, nodes[0].col_offset, argument, replacement)
        self._add(
            "argument",
            use.line,
            use.column,
            f"{name}({argument}=)",
            f"{argument}= is the old name of {replacement}=",
            remedies.NAMES,
            warning=True,
            change=change,
        )


def _by_import(uses: Uses) -> dict[Import, list[Use]]:
    found: dict[Import, list[Use]] = defaultdict(list)
    for use in uses.names:
        found[use.bound_by].append(use)
    return found


def _import_change(bound_by: Import, text: str) -> Change | None:
    """Returns the change of an import to compat.v1, or None if it is not safe."""
    node, module = bound_by.node, bound_by.module
    lines = text.split("\n")
    if node is None or _in_v1(module) == module:
        return None
    if hasattr(node, "asname"):  # a part of `import x as y`
        if module != "tensorflow" or node.end_lineno != node.lineno:
            return None
        old = _segment(lines, node)
        return Change(node.lineno, node.col_offset, old, f"{V1} as {node.asname or 'tensorflow'}")
    statement = lines[node.lineno - 1].encode()[node.col_offset :].decode()
    start = re.match(rf"from[ \t]+{re.escape(module)}(?=[ \t])", statement)
    if not start:
        return None
    return Change(node.lineno, node.col_offset, start[0], f"from {_in_v1(module)}")


def _segment(lines: Sequence[str], node) -> str:
    """Returns the text of a node that is on one line."""
    return lines[node.lineno - 1].encode()[node.col_offset : node.end_col_offset].decode()
