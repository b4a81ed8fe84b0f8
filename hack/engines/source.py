"""Python files of a wheel as syntax trees, read without running them."""

import ast
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class Flag:
    """A flag of a command line.

    Attributes:
        names: All spellings, the usual one first.
        takes: Number of values: `none`, `one`, `many`, or `any` if unknown.
        choices: Allowed values; empty for any.
    """

    names: tuple[str, ...]
    takes: str = "one"
    choices: tuple[str, ...] = ()


class Wheel:
    """The .py files of a wheel."""

    def __init__(self, path: Path):
        self.name, self.release = path.name.split("-")[:2]
        self._zip = zipfile.ZipFile(path)

    @cached_property
    def files(self) -> list[str]:
        """Return the names of the files."""
        return sorted(name for name in self._zip.namelist() if name.endswith(".py"))

    def tree(self, name: str) -> ast.Module:
        """Return the syntax tree of a file."""
        return ast.parse(self._zip.read(name))

    def fields(self, folder: str, class_name: str) -> dict[str, ast.expr]:
        """Return the annotations of a class in a file below a folder."""
        needle = f"class {class_name}".encode()
        for name in self.files:
            if not name.startswith(folder) or needle not in self._zip.read(name):
                continue
            if found := dict(annotations(self.tree(name), class_name)):
                return found
        raise LookupError(f"no class {class_name} below {folder}")

    def literal(self, folder: str, alias: str) -> tuple[str, ...]:
        """Return the strings of `alias = Literal[...]`, or of a list, in a file below a folder."""
        needle = f"{alias} ".encode()
        for name in self.files:
            if name.startswith(folder) and needle in self._zip.read(name):
                for node in ast.walk(self.tree(name)):
                    if isinstance(node, ast.Assign | ast.AnnAssign) and _target(node) == alias:
                        return strings(node.value)
        return ()


def annotations(tree: ast.AST, class_name: str) -> Iterator[tuple[str, ast.expr]]:
    """Return the fields of a class in a file, with their annotations."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield item.target.id, item.annotation


def calls(tree: ast.AST, method: str) -> Iterator[ast.Call]:
    """Return the calls of a method."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == method
        ):
            yield node


def keys(tree: ast.AST, name: str) -> tuple[str, ...]:
    """Return the keys of a dictionary that is assigned to a name."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or _target(node) != name:
            continue
        if isinstance(node.value, ast.Dict):
            found = (key.value for key in node.value.keys if isinstance(key, ast.Constant))
            return tuple(str(key) for key in found)
    raise LookupError(f"no assignment to {name}")


def strings(node: ast.AST | None) -> tuple[str, ...]:
    """Return the strings in an expression, in order."""
    if node is None:
        return ()
    return tuple(
        item.value
        for item in ast.walk(node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    )


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Return an argument of a call by its name."""
    return next((item.value for item in call.keywords if item.arg == name), None)


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return getattr(target, "id", getattr(target, "attr", ""))
