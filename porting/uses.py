"""The uses of TensorFlow in a file, as `porting.names` finds them in its syntax tree."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Sequence

V1 = "tensorflow.compat.v1"
ROOTS = ("tensorflow", "keras")
SWITCH = "TF_USE_LEGACY_KERAS"


def is_part(name: str, wholes: Iterable[str]) -> bool:
    """Returns whether a dotted name is one of `wholes` or inside of one."""
    return any(f"{name}.".startswith(f"{whole}.") for whole in wholes)


@dataclasses.dataclass(eq=False)
class Import:
    """An import statement, or the part of one that binds a name.

    Attributes:
        module: the dotted module, such as "tensorflow.contrib".
        node: the node in the syntax tree that a fix would change, or None if no fix is possible.
        line, column: of the statement, counted from 1 and 0.
    """

    module: str
    node: ast.alias | ast.ImportFrom | None
    line: int
    column: int


@dataclasses.dataclass
class Call:
    """The arguments of a call.

    Attributes:
        positional: the number of positional arguments; None if it is unknown.
        keywords: the names of the keyword arguments.
        nodes: their nodes.
        number_first: whether the first argument is a number.
        list_second: whether the second argument is a list or tuple.
    """

    positional: int | None
    keywords: tuple[str, ...]
    nodes: tuple[ast.keyword, ...] = ()
    number_first: bool = False
    list_second: bool = False


@dataclasses.dataclass
class Use:
    """One place where a name is used.

    Attributes:
        name: dotted, beginning with "tensorflow" or "keras", as in the import statement.
        line, column: counted from 1 and 0.
        bound_by: the import that gives access to the name.
        call: the arguments, if the name is called.
        imports_module: whether the name must be a module, as in `import tensorflow.contrib`.
        by_star: whether `import *` may have bound the name; it may also be another module's.
        scope: identifies the function in which it is used; 0 if that is when the file is imported.
        opens_block: whether it is called by a `with` statement.
        in_block: whether it is in the block of such a statement that opens a session.
        in_graph: whether it is in a block `with graph.as_default():`.
        path: identifies the branches of `if` and `try` statements around it.
        inside: the name of the function around it, after that of its class if it is a method.
        survives: what a `try` statement around it catches: "missing" if the name may be missing,
            "argument" if an argument may be wrong.
        instead_of: the uses that are tried first, if it is in an `except` clause.
    """

    name: str
    line: int
    column: int
    bound_by: Import
    call: Call | None = None
    imports_module: bool = False
    by_star: bool = False
    scope: int = 0
    opens_block: bool = False
    in_block: bool = False
    in_graph: bool = False
    path: tuple[int, ...] = ()
    inside: tuple[str, ...] = ()
    survives: frozenset[str] = frozenset()
    instead_of: Sequence[Use] = ()

    @property
    def access(self) -> str:
        """How the name is reached.

        "import" by an import statement, "attribute" as an attribute of TensorFlow itself, "member"
        by way of another module that was imported, which may be one that is no attribute.
        """
        if self.imports_module:
            return "import"
        is_from = isinstance(self.bound_by.node, ast.ImportFrom)
        is_whole = self.bound_by.module in ("tensorflow", V1) and not is_from
        return "attribute" if is_whole else "member"


@dataclasses.dataclass
class OtherCall:
    """A call of a function, class or method that is not TensorFlow's.

    Attributes:
        name: the last part of its name, such as "build".
        module: the module that it is called through, as in `numpy.load(...)`, or "".
        line, scope, path, inside, in_block, in_graph: as in `Use`.
    """

    name: str
    module: str
    line: int
    scope: int
    path: tuple[int, ...]
    inside: tuple[str, ...]
    in_block: bool
    in_graph: bool


@dataclasses.dataclass
class Uses:
    """All uses of TensorFlow in one file.

    Attributes:
        names: the uses of names.
        dimension_values: (line, column) of each `x.shape[i].value`.
        methods: (name, line, column) of each attribute of something that is not a TensorFlow
            module, unless the program defines it, tests it by `hasattr`, or catches the error.
        test_sessions: (line, column) of each `self.test_session()` and the like outside of a graph.
        attributes: the names of all attributes and called functions, such as "Session".
        calls: the other calls.
        imports: the parts of the names of all other imports, such as "utils".
        makes_graph_default: whether `as_default` is called on anything but a session.
        keeps_graph_default: whether that happens outside of a `with` statement.
        sets_switch: whether the file sets TF_USE_LEGACY_KERAS in the environment.
        is_program: whether the file compares `__name__` with "__main__", as programs do.
    """

    names: list[Use] = dataclasses.field(default_factory=list)
    dimension_values: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    methods: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)
    test_sessions: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    calls: list[OtherCall] = dataclasses.field(default_factory=list)
    attributes: set[str] = dataclasses.field(default_factory=set)
    imports: set[str] = dataclasses.field(default_factory=set)
    makes_graph_default: bool = False
    keeps_graph_default: bool = False
    sets_switch: bool = False
    is_program: bool = False
