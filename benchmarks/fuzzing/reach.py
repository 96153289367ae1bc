"""Counts how often an input runs each statement of energydiag."""

from __future__ import annotations

import array
import ast
import importlib.abc
import importlib.machinery
import types
from collections.abc import Sequence
from typing import Any

_COUNTERS = 1 << 17
_LEVELS = 7


class Reach(importlib.abc.MetaPathFinder):
    """How often each statement of energydiag ran, by powers of two: once, two or three times, … 32 times and more.

    As a finder of modules it puts a counter in front of every statement, and into every lambda.
    """

    def __init__(self) -> None:
        import numpy

        self._counts = array.array("Q", bytes(8 * _COUNTERS))
        self._used = 0
        self._numbers = numpy.frombuffer(self._counts, numpy.uint64)
        self._known = numpy.zeros(_COUNTERS, numpy.uint8)
        self._numpy = numpy

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "energydiag":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Counting(spec.loader.name, spec.loader.path, self)
        return spec

    def counter(self) -> int:
        """The number of another counter."""
        self._used += 1
        return self._used - 1

    @property
    def counts(self) -> array.array[int]:
        """What the counters are called in the modules."""
        return self._counts

    def forget(self) -> None:
        """Another input begins."""
        self._numbers[: self._used] = 0

    def is_new(self) -> bool:
        """Whether the input reached something, or as often, as none before."""
        level = self._numpy.minimum(self._numpy.frexp(self._numbers[: self._used])[1], _LEVELS)
        bits = (1 << level).astype(self._numpy.uint8) & 0xFE  # the lowest: did not run
        known = self._known[: self._used]
        fresh = bool((bits & ~known).any())
        known |= bits
        return fresh

    def statements(self) -> int:
        """How many were ever run."""
        return int((self._known != 0).sum())


class _Counting(importlib.machinery.SourceFileLoader):
    """Loads a module with counters in it."""

    def __init__(self, name: str, path: str, reach: Reach) -> None:
        super().__init__(name, path)
        self._reach = reach

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = _Counters(self._reach).visit(ast.parse(self.get_data(path), path))
        code: types.CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__counts__"] = self._reach.counts
        super().exec_module(module)


class _Counters(ast.NodeTransformer):
    """Puts ``__counts__[n] += 1`` before statements."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [each for statement in block for each in self._counted(statement)])
        return node

    def _counted(self, statement: ast.stmt) -> list[ast.stmt]:
        passive = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Pass)
        if isinstance(statement, passive) or _is_text(statement):
            return [statement]
        counter = ast.parse(f"__counts__[{self._reach.counter()}] += 1").body[0]
        return [_at(counter, statement), statement]

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        super().generic_visit(node)
        number = self._reach.counter()
        counter = ast.parse(f"__counts__.__setitem__({number}, __counts__[{number}] + 1)", mode="eval").body
        node.body = ast.BoolOp(ast.Or(), [_at(counter, node.body), node.body])  # it gives None
        return ast.copy_location(node, node)


def _at(node: Any, place: ast.AST) -> Any:
    for each in ast.walk(node):
        ast.copy_location(each, place)
    return node


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
