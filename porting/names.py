"""Finds the uses of TensorFlow's names in a program's syntax tree.

It runs nothing. `uses_of` follows imports under any name (`import tensorflow as tf`,
`from tensorflow.contrib import slim`), aliases (`layers = tf.layers`), and plain strings in
`getattr(tf, "layers")` and `importlib.import_module("tensorflow")`, scope by scope.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from porting.uses import ROOTS, SWITCH, V1, Call, Import, OtherCall, Use, Uses, is_part

# What names stand for that are not TensorFlow's: the shape of a tensor, and one dimension of it.
_SHAPE, _DIMENSION = "<shape>", "<dimension>"
_TEST_SESSIONS = ("test_session", "session", "cached_session")  # methods of tf.test.TestCase
_BROAD_ERRORS = {"Exception", "BaseException"}
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", *_BROAD_ERRORS}
_FALLBACK_ERRORS = {"ImportError", "ModuleNotFoundError", "AttributeError", "TypeError"}


def uses_of(tree: ast.Module) -> Uses:
    """Returns the uses of TensorFlow in the parsed file `tree`."""
    reader = _Reader(tree)
    reader.read(tree)
    return reader.uses


@dataclasses.dataclass
class _Value:
    """The meaning of a name: a dotted name of TensorFlow, accessed through an import.

    Attributes:
        by_star: as in `Use`.
        maybe: whether the name may have another value, as an argument with a default may.
    """

    name: str
    bound_by: Import
    by_star: bool = False
    maybe: bool = False

    def member(self, name: str) -> _Value:
        """Returns the meaning of the attribute `name` of this value."""
        return dataclasses.replace(self, name=f"{self.name}.{name}")


Nodes = Iterable[ast.AST]
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class _Scope(dict[str, "_Value | None"]):
    """The meanings of names in one scope; None means something that is not TensorFlow's."""


class _ClassScope(_Scope):
    """The scope of a class, which its methods do not see."""


class _FunctionScope(_Scope):
    """The scope of a function, which is read after the module."""


class _Reader(ast.NodeVisitor):
    """Walks a tree in the order of execution: bodies of functions come after the module."""

    def __init__(self, tree: ast.Module):
        self.uses = Uses()
        self._scopes: list[_Scope] = [_implied_bindings(tree)]
        self._later: list[tuple[_Function, list[_Scope], dict[str, _Value | None], tuple]] = []
        self._inside: tuple[str, ...] = ()  # names of enclosing functions and classes
        self._guards: list[set[str]] = []  # errors that enclosing `try` statements catch
        self._tried: list[Use] = []  # what the `try` of the enclosing `except` clause uses
        self._is_broad = False  # whether that clause catches errors of any kind
        self._known_to_exist: list[str] = []  # names inside `if hasattr(...)`
        self._branches = 0  # enclosing `if` and `try` statements
        self._own: list[str] = []  # attributes that the program itself sets
        self._of_self: dict[str, _Value | None] = {}  # such as `self.layers = tf.layers`
        self._sessions: set[str] = set()  # expressions that hold a session
        self._stars: list[_Value] = []  # TensorFlow's modules of which everything was imported
        self._has_other_stars = False
        self._with_item: ast.AST | None = None  # the expression of a `with` that is read
        self._path: tuple[int, ...] = ()  # enclosing branches, by their numbers
        self._branch_count = 0
        self._modules: dict[str, str] = {}  # other modules by the names that they are bound to
        self._blocks = 0  # enclosing blocks of `with` statements that open a session
        self._graphs = 0  # enclosing blocks `with graph.as_default():`

    def read(self, tree: ast.Module) -> None:
        self._visit_all(tree.body)
        while self._later:
            function, self._scopes, self._of_self, self._inside = self._later.pop(0)
            self._visit_all(function.body if isinstance(function.body, list) else [function.body])
        own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)} | {
            parts[1] for n in ast.walk(tree) if (parts := _owner_and_name(n, "hasattr"))
        }
        self.uses.methods = [method for method in self.uses.methods if method[0] not in own]

    # Scopes

    def _bind(self, name: str, value: _Value | None) -> None:
        scope = self._scopes[-1]
        known = scope.get(name)
        is_other_branch = self._branches and known and known.name == V1
        if is_other_branch and value and value.name == "tensorflow":
            return  # try: import tensorflow.compat.v1 as tf; except: import tensorflow as tf
        scope[name] = value

    def _look_up(self, name: str) -> _Value | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if self._stars and not hasattr(builtins, name):
            return self._stars[-1].member(name)
        return None

    def _bind_targets(self, target: ast.AST) -> None:
        """Marks the names that a target assigns as no longer TensorFlow's."""
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._bind(node.id, None)

    def _resolve(self, node: ast.AST | None) -> _Value | None:
        """Returns the meaning of an expression, or None if it is not TensorFlow's."""
        if isinstance(node, ast.Name):
            return self._look_up(node.id)
        if isinstance(node, ast.Attribute):
            if _is_self(node.value) and node.attr in self._of_self:
                return self._of_self[node.attr]
            owner = self._resolve(node.value)
            if owner and owner.name not in (_SHAPE, _DIMENSION):
                return owner.member(node.attr)
        if parts := _owner_and_name(node, "getattr"):
            owner = self._resolve(parts[0])
            return owner and owner.member(parts[1])
        if isinstance(node, ast.IfExp):
            return _perhaps(self._resolve(node.body) or self._resolve(node.orelse))
        if isinstance(node, ast.Call) and (module := _imported_by_call(node)):
            return _Value(module, Import(module, None, node.lineno, node.col_offset))
        return None

    def _makes_session(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        value = self._resolve(node.func)
        return value is not None and value.name.endswith("Session")

    def _is_session(self, node: ast.AST) -> bool:
        return self._makes_session(node) or ast.unparse(node) in self._sessions

    # Imports

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name.partition(".")[0]
            if root not in ROOTS:
                self.uses.imports.update(alias.name.split("."))
                self._modules[alias.asname or root] = alias.name
                self._bind(alias.asname or root, None)
                continue
            found = Import(alias.name, alias, node.lineno, node.col_offset)
            bound_name = alias.name if alias.asname else root
            self._bind(alias.asname or root, _Value(bound_name, found))
            survives = self._survives(_IMPORT_ERRORS)
            place = (node.lineno, node.col_offset)
            self._add(alias.name, *place, found, imports_module=True, survives=survives)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        inside = node.level == 0 and module.partition(".")[0] in ROOTS
        found = Import(module, node, node.lineno, node.col_offset)
        facts = {"survives": self._survives(_IMPORT_ERRORS)}
        if inside:
            self._add(module, node.lineno, node.col_offset, found, imports_module=True, **facts)
        if not inside:
            self.uses.imports.update(module.split("."))
            self.uses.imports.update(alias.name for alias in node.names)
        for alias in node.names:
            if inside and alias.name == "*":
                self._stars.append(_Value(module, found, by_star=True))
            elif alias.name == "*":
                self._has_other_stars = True
            name = alias.asname or alias.name
            if inside and alias.name != "*":
                full_name = f"{module}.{alias.name}"
                self._bind(name, _Value(full_name, found))
                self._add(full_name, node.lineno, node.col_offset, found, **facts)
            elif alias.name == "tf":  # from another file that imported it
                other = Import("tensorflow", None, node.lineno, node.col_offset)
                self._bind(name, _Value("tensorflow", other))
            elif alias.name != "*":
                self._bind(name, None)

    def _guarded(self, errors: set[str]) -> bool:
        return any(caught & errors for caught in self._guards)

    def _survives(self, errors: set[str]) -> frozenset[str]:
        """Returns `Use.survives`; these errors are raised if the name is missing."""
        caught = {"missing"} if self._guarded(errors) else set()
        return frozenset(caught | ({"argument"} if self._guarded({"TypeError"}) else set()))

    def visit_Try(self, node: ast.Try | Any) -> None:
        caught = _caught(node)
        if caught & _BROAD_ERRORS and all(map(_only_looks_up, node.body)):
            caught |= {"AttributeError"}
        before = len(self.uses.names)
        self._guards.append(caught)
        self._visit_branch(node.body)
        self._guards.pop()
        outer = self._tried, self._is_broad
        if caught & {*_FALLBACK_ERRORS, *_BROAD_ERRORS}:
            self._tried = self.uses.names[before:]
            self._is_broad = not caught & _FALLBACK_ERRORS
        for handler in node.handlers:
            self._visit_branch([handler])
        self._tried, self._is_broad = outer
        self._branches += 1
        self._visit_all([*node.orelse, *node.finalbody])
        self._branches -= 1

    visit_TryStar = visit_Try

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, None)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._visit_branches(node.test, node.body, node.orelse)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._visit_branches(node.test, [node.body], [node.orelse])

    def _visit_branches(self, test: ast.expr, body: Nodes, orelse: Nodes) -> None:
        self.visit(test)
        existing = self._tested_by_hasattr(test)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            self._visit_knowing([], body)
            self._visit_knowing(existing, orelse)
        else:
            self._visit_knowing(existing, body)
            self._visit_knowing([], orelse)

    def _tested_by_hasattr(self, test: ast.expr) -> list[str]:
        return [
            f"{owner.name}.{parts[1]}"
            for part in ast.walk(test)
            if (parts := _owner_and_name(part, "hasattr") or _name_in_dir(part))
            and (owner := self._value_of(parts[0]))
        ]

    def _visit_knowing(self, existing: list[str], nodes: Nodes) -> None:
        """Visits a branch of the program in which these names are known to exist."""
        outer, self._known_to_exist = self._known_to_exist, [*self._known_to_exist, *existing]
        self._visit_branch(nodes)
        self._known_to_exist = outer

    def _visit_branch(self, nodes: Nodes) -> None:
        """Visits statements that may not run."""
        self._branch_count += 1
        outer, self._path = self._path, (*self._path, self._branch_count)
        self._branches += 1
        self._visit_all(nodes)
        self._branches -= 1
        self._path = outer

    # Uses

    def _add(self, name: str, line: int, column: int, bound_by: Import, **facts) -> None:
        if not is_part(name, [*self._known_to_exist, *self._own]):
            facts |= self._place()
            facts["instead_of"] = [u for u in self._tried if not self._is_broad or u.name == name]
            self.uses.names.append(Use(name, line, column, bound_by, **facts))

    def _add_expression(
        self, node: ast.expr, call: Call | None = None, opens_block: bool = False
    ) -> bool:
        value = self._resolve(node)
        if value is None or value.name in (_SHAPE, _DIMENSION):
            return False
        line = node.end_lineno or node.lineno  # the last line of a long chain has the name
        if value.by_star:
            self._add_from_stars(value, node, line, call, opens_block)
        elif not (value.maybe and isinstance(node, ast.Name)):
            facts = {
                "call": None if value.maybe else call,
                "opens_block": opens_block,
                "survives": self._survives({"AttributeError"}),
            }
            self._add(value.name, line, node.col_offset, value.bound_by, **facts)
        return True

    def _add_from_stars(
        self, value: _Value, node: ast.expr, line: int, call: Call | None, opens_block: bool
    ) -> None:
        """Adds a use for each module that may have bound the name."""
        rest = value.name.removeprefix(self._stars[-1].name)
        call = None if self._has_other_stars else call
        for star in self._stars:
            facts: dict[str, Any] = {"call": call, "by_star": True, "opens_block": opens_block}
            facts["survives"] = self._survives({"AttributeError"})
            self._add(f"{star.name}{rest}", line, node.col_offset, star.bound_by, **facts)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._add_expression(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.uses.attributes.add(node.attr)
        if not self._add_expression(node):
            if not self._guarded({"AttributeError"}):
                place = (node.end_lineno or node.lineno, node.col_offset)
                self.uses.methods.append((node.attr, *place))
                is_tested = f"{_DIMENSION}.value" in self._known_to_exist
                if node.attr == "value" and not is_tested and self._is_dimension(node.value):
                    self.uses.dimension_values.append(place)
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        compared = {getattr(part, "id", getattr(part, "value", None)) for part in ast.walk(node)}
        self.uses.is_program |= {"__name__", "__main__"} <= compared
        self.generic_visit(node)

    def _is_dimension(self, node: ast.AST) -> bool:
        """Returns whether an expression is `x.shape[i]` or `x.get_shape()[i]`."""
        # An element of x.shape.dims, however, still has a `.value`.
        if isinstance(node, ast.Name):
            return self._stands_for(node, _DIMENSION)
        if not isinstance(node, ast.Subscript) or isinstance(node.slice, ast.Slice):
            return False
        return self._is_shape(node.value)

    def _is_shape(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return self._stands_for(node, _SHAPE)
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Attribute) and node.func.attr == "get_shape"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            return self._is_shape(node.value)
        return isinstance(node, ast.Attribute) and node.attr == "shape"

    def _stands_for(self, node: ast.Name, marker: str) -> bool:
        value = self._look_up(node.id)
        return value is not None and value.name == marker

    def visit_Call(self, node: ast.Call) -> None:
        if _owner_and_name(node, "getattr") and self._add_expression(node):
            return
        if (module := _imported_by_call(node)) and not self._guarded(_IMPORT_ERRORS):
            found = Import(module, None, node.lineno, node.col_offset)
            self._add(module, node.lineno, node.col_offset, found, imports_module=True)
        if isinstance(node.func, ast.Name):
            self.uses.attributes.add(node.func.id)
        if isinstance(node.func, ast.Attribute):
            self.uses.attributes.add(node.func.attr)
            if node.func.attr == "as_default" and not self._is_session(node.func.value):
                self.uses.makes_graph_default = True
                self.uses.keeps_graph_default |= node is not self._with_item
            if node.func.attr in ("setdefault", "putenv") and len(node.args) == 2:
                self.uses.sets_switch |= _is_switch(node, node.args[1])
        if not self._add_expression(node.func, _call(node), node is self._with_item):
            self._add_call(node)
            self.visit(node.func)
        self._visit_all([*node.args, *node.keywords])

    def _add_call(self, node: ast.Call) -> None:
        """Adds a call of another function than TensorFlow's."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        is_method = isinstance(node.func, ast.Attribute) and _is_self(node.func.value)
        if name in _TEST_SESSIONS and is_method and not self._graphs:
            self.uses.test_sessions.append((node.lineno, node.col_offset))
        root = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        module = ""
        if isinstance(root, ast.Name) and root is not node.func:
            module = self._modules.get(root.id, "")
        self.uses.calls.append(OtherCall(name, module, node.lineno, **self._place()))

    def _place(self) -> dict[str, Any]:
        """Returns the attributes of `Use` and `OtherCall` that say where it is."""
        functions = [scope for scope in self._scopes if isinstance(scope, _FunctionScope)]
        return {
            "scope": id(functions[-1]) if functions else 0,
            "path": self._path,
            "inside": self._inside,
            "in_block": self._blocks > 0,
            "in_graph": self._graphs > 0,
        }

    # Statements and expressions that bind names

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self._assign(target, node.value)

    def _assign(self, target: ast.AST, value: ast.AST) -> None:
        if self._makes_session(value):
            self._sessions.add(ast.unparse(target))
        if isinstance(target, ast.Attribute) and _is_self(target.value):
            self._of_self[target.attr] = self._resolve(value)
        elif isinstance(target, ast.Name):
            self._bind(target.id, self._value_of(value))
        elif (
            isinstance(target, ast.Tuple)
            and isinstance(value, ast.Tuple)
            and len(target.elts) == len(value.elts)
        ):
            for one_target, one_value in zip(target.elts, value.elts, strict=True):
                self._assign(one_target, one_value)
        elif isinstance(target, ast.Tuple | ast.List) and self._is_shape(value):
            for element in target.elts:
                self._bind_elements(element, value)
        else:
            for part in ast.walk(target):  # such as `self.a, self.b = f()`
                if isinstance(part, ast.Attribute) and _is_self(part.value):
                    self._of_self[part.attr] = None
            self.uses.sets_switch |= _is_switch(target, value)
            self._bind_targets(target)
            if isinstance(target, ast.Attribute) and (owner := self._resolve(target)):
                self._own.append(owner.name)  # as in `tf.model = ...`
                target = target.value
            self.visit(target)

    def _value_of(self, node: ast.AST) -> _Value | None:
        if self._is_shape(node):
            return _marker(_SHAPE)
        return _marker(_DIMENSION) if self._is_dimension(node) else self._resolve(node)

    def _bind_elements(self, target: ast.AST, iterable: ast.AST) -> None:
        """Binds the target of a loop."""
        self._bind_targets(target)
        if isinstance(target, ast.Name) and self._is_shape(iterable):
            self._bind(target.id, _marker(_DIMENSION))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        if node.value:
            self.visit(node.value)
            self._assign(node.target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self._assign(node.target, node.value)

    def visit_For(self, node: ast.For | Any) -> None:
        self.visit(node.iter)
        self._bind_elements(node.target, node.iter)
        self.visit(node.target)
        self._visit_all([*node.body, *node.orelse])

    visit_AsyncFor = visit_For

    def visit_With(self, node: ast.With | Any) -> None:
        outer = self._blocks, self._graphs
        for item in node.items:
            self.visit(item)
            self._graphs += self._makes_graph_default(item.context_expr)
        self._blocks += any(self._makes_session(item.context_expr) for item in node.items)
        self._visit_all(node.body)
        self._blocks, self._graphs = outer

    def _makes_graph_default(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        return node.func.attr == "as_default" and not self._is_session(node.func.value)

    visit_AsyncWith = visit_With

    def visit_withitem(self, node: ast.withitem) -> None:
        self._with_item = node.context_expr
        self.visit(node.context_expr)
        self._with_item = None
        if node.optional_vars:
            if self._makes_session(node.context_expr):
                self._sessions.add(ast.unparse(node.optional_vars))
            self._bind_targets(node.optional_vars)

    def visit_FunctionDef(self, node: ast.FunctionDef | Any) -> None:
        self._bind(node.name, None)
        self._visit_all(node.decorator_list)
        self._visit_signature(node.args)
        if node.returns:
            self.visit(node.returns)
        self._defer(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_signature(node.args)
        self._defer(node)

    def _visit_signature(self, arguments: ast.arguments) -> None:
        annotations = [argument.annotation for argument in _arguments(arguments)]
        defaults = [*arguments.defaults, *arguments.kw_defaults]
        self._visit_all([node for node in (*annotations, *defaults) if node])

    def _defer(self, node) -> None:
        """Saves the body of a function for later, with the scopes that it will see."""
        visible = [scope for scope in self._scopes if not isinstance(scope, _ClassScope)]
        parameters = _FunctionScope({argument.arg: None for argument in _arguments(node.args)})
        positional = [*node.args.posonlyargs, *node.args.args]
        last = positional[len(positional) - len(node.args.defaults) :]
        for argument, default in [
            *zip(last, node.args.defaults, strict=True),
            *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
        ]:
            parameters[argument.arg] = _perhaps(self._resolve(default))  # def f(layers=tf.layers)
        is_method = isinstance(self._scopes[-1], _ClassScope)
        inside = (*self._inside * is_method, getattr(node, "name", "lambda"))
        self._later.append((node, [*visible, parameters], self._of_self, inside))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, None)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        outer = self._of_self, self._inside
        self._of_self, self._inside = {}, (node.name,)
        self._scopes.append(_ClassScope())
        self._visit_all(node.body)
        self._scopes.pop()
        self._of_self, self._inside = outer

    def _visit_comprehension(self, node) -> None:
        self._scopes.append(_Scope())
        for generator in node.generators:
            self.visit(generator.iter)
            self._bind_elements(generator.target, generator.iter)
            self._visit_all(generator.ifs)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._visit_all(results)
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension

    def _visit_all(self, nodes: Nodes) -> None:
        for node in nodes:
            self.visit(node)


def _implied_bindings(tree: ast.Module) -> _Scope:
    """Returns `tf` as TensorFlow if a file uses it and must get it from `from x import *`."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "tf"]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    assigned = any(isinstance(name.ctx, ast.Store) for name in names)
    if names and not assigned and "tf" not in imported and "*" in imported:
        return _Scope(tf=_Value("tensorflow", Import("tensorflow", None, names[0].lineno, 0)))
    return _Scope()


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (argument for argument in (arguments.vararg, arguments.kwarg) if argument)


def _owner_and_name(node: ast.AST | None, function: str) -> tuple[ast.expr, str] | None:
    """Returns the arguments of `function(owner, "name")`, or None for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
        match node.args:
            case [owner, ast.Constant(value=str(name))]:
                return owner, name
    return None


def _name_in_dir(node: ast.AST) -> tuple[ast.expr, str] | None:
    """Returns the arguments of `"name" in dir(owner)`, or None for anything else."""
    match node:
        case ast.Compare(
            left=ast.Constant(value=str(name)),
            ops=[ast.In()],
            comparators=[ast.Call(func=ast.Name(id="dir"), args=[owner])],
        ):
            return owner, name
    return None


def _marker(name: str) -> _Value:
    return _Value(name, Import("", None, 0, 0))


def _imported_by_call(node: ast.Call) -> str | None:
    """Returns the module that `importlib.import_module("...")` or `__import__("...")` returns."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            module = name
        case ast.Call(func=ast.Name(id="__import__"), args=[ast.Constant(value=str(name)), *_]):
            module = name.partition(".")[0]
        case _:
            return None
    return module if module.partition(".")[0] in ROOTS else None


def _perhaps(value: _Value | None) -> _Value | None:
    return value and dataclasses.replace(value, maybe=True)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _call(node: ast.Call) -> Call:
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    first, second = [*node.args, None, None][:2]
    return Call(
        None if starred else len(node.args),
        tuple(keyword.arg for keyword in node.keywords if keyword.arg),
        tuple(keyword for keyword in node.keywords if keyword.arg),
        isinstance(first, ast.Constant) and isinstance(first.value, int),
        isinstance(second, ast.List | ast.Tuple),
    )


def _is_switch(target: ast.AST, value: ast.AST) -> bool:
    """Returns whether `os.environ["TF_USE_LEGACY_KERAS"]`, or a call, is given a true value."""
    constants = {part.value for part in ast.walk(target) if isinstance(part, ast.Constant)}
    is_on = isinstance(value, ast.Constant) and value.value in ("1", "true", "True")
    return SWITCH in constants and is_on


def _only_looks_up(statement: ast.stmt) -> bool:
    """Returns whether a statement is like `s = tf.Session`, which a `try` makes a test."""
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Attribute)


def _caught(node: ast.Try) -> set[str]:
    """Returns the names of the errors that a `try` statement catches."""
    errors = set()
    for handler in node.handlers:
        if handler.type is None:
            errors.add("BaseException")
        else:
            errors |= {part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)}
    return errors
