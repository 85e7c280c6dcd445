"""How the files of a program import each other."""

from __future__ import annotations

import pathlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from porting.uses import Uses


class Project:
    """The files of a program; each is named by its index.

    A file imports every file whose name is part of a module's name in one of its imports, or only
    those in its own folder if there are any; and the `__init__.py` of its folder.

    Attributes:
        modules: the names of the files without `.py`, and of the packages.
    """

    def __init__(self, files: Sequence[tuple[pathlib.Path, Uses]]) -> None:
        """Takes the paths of the files and their uses."""
        self._uses = [uses for _, uses in files]
        by_name: dict[str, set[int]] = defaultdict(set)
        packages: dict[pathlib.Path, set[int]] = {}
        for index, (path, _) in enumerate(files):
            if path.name == "__init__.py":
                packages[path.parent] = {index}
                by_name[path.parent.name].add(index)
            else:
                by_name[path.stem].add(index)
        self._imported = []
        for path, uses in files:
            imported = set(packages.get(path.parent, ()))
            for name in uses.imports:
                beside = {i for i in by_name[name] if files[i][0].parent == path.parent}
                imported |= beside or by_name[name]
            self._imported.append(imported)
        self.modules = {name for name, found in by_name.items() if found}
        self._importers: list[set[int]] = [set() for _ in files]
        for index, others in enumerate(self._imported):
            for other in others:
                self._importers[other].add(index)

    def called_with(self, switches: Iterable[str]) -> list[set[str]]:
        """Returns for each file the switches that are called in a process that imports the file.

        Such a process also runs everything that the file imports, and what is imported together
        with it.
        """
        called: list[set[str]] = [set() for _ in self._uses]
        for switch in switches:
            callers = {index for index, uses in enumerate(self._uses) if switch in uses.attributes}
            for index in _reached(_reached(callers, self._importers), self._imported):
                called[index].add(switch)
        return called

    def connected(self, start: set[int]) -> set[int]:
        """Returns these files, all that import them, and all that they import, at any distance."""
        return _reached(start, self._imported) | _reached(start, self._importers)


def _reached(start: set[int], links: Sequence[set[int]]) -> set[int]:
    """Returns `start` and every file that the links lead to from there."""
    reached: set[int] = set()
    waiting = start
    while waiting:
        reached |= waiting
        waiting = set().union(*(links[index] for index in waiting)) - reached
    return reached
