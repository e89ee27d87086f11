"""What made something: the modules that take part, identified by what they do and not by where they are."""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest_ecgfm

_PACKAGE = "pytest_ecgfm"
_FOLDER = Path(str(pytest_ecgfm.__file__)).parent


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over length-prefixed parts."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "big"))
        sha.update(part)
    return sha.hexdigest()


def code_digest(*modules: str) -> str:
    """Identify the code of some modules, and of all modules of this package that they import, directly or not.

    A changed statement changes the digest. A comment, a docstring, another layout of the lines, or a module that moves
    to another folder does not. Imports below ``if TYPE_CHECKING:`` do not count, as they never run.

    Parameters
    ----------
    modules : str
        Full names, such as ``"pytest_ecgfm.signals.records"``. Modules of other packages are left out.

    Returns
    -------
    str
        SHA-256, in hexadecimal.

    Raises
    ------
    ValueError
        If a module of this package does not exist.
    """
    return digest(sorted(_own_code(name) for name in closure(*modules)))


@cache
def closure(*modules: str) -> frozenset[str]:
    """Return the modules of this package among `modules`, with all that they import from this package."""
    waiting, found = [name for name in modules if _is_ours(name)], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(name)
    return frozenset(found)


def file_digest(path: Path) -> bytes:
    """Identify a Python file outside this package by its statements; comments and docstrings do not count."""
    return _hashed(ast.parse(path.read_bytes()))


def _is_ours(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


@cache
def _path(name: str) -> Path | None:
    """Find a module's file without running the module; None where there is none."""
    place = _FOLDER.joinpath(*name.split(".")[1:])
    loaded = getattr(sys.modules.get(name), "__file__", None)
    # Suites and fixtures lie elsewhere in a source tree: they are known once they are loaded.
    candidates = [place.with_name(f"{place.name}.py"), place / "__init__.py", *([Path(loaded)] if loaded else [])]
    return next((path for path in candidates if path.is_file()), None)


def _source(name: str) -> bytes:
    path = _path(name)
    if path is None:
        raise ValueError(f"no module {name}")
    return path.read_bytes()


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but not below ``if TYPE_CHECKING:``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from _statements(other)
        else:
            yield from _statements(child)


def _source_of(node: ast.ImportFrom, name: str) -> str:
    """Return the full name of the module that a ``from ... import`` in module `name` names."""
    if not node.level:
        return node.module or ""
    path = _path(name)
    package = name if path is not None and path.name == "__init__.py" else name.rpartition(".")[0]
    return resolve_name("." * node.level + (node.module or ""), package)


@cache
def _imported(name: str) -> frozenset[str]:
    """Return the modules of this package that one of its modules imports."""
    found = set[str]()
    for node in _statements(ast.parse(_source(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if _is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom) and _is_ours(source := _source_of(node, name)):
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                found.add(submodule if _path(submodule) is not None else source)
    return frozenset(found)


class _Bare(ast.NodeTransformer):
    """Leaves what a module does: no docstrings, and not where it finds other modules, which count themselves."""

    def _without_docstring(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        body = getattr(node, "body", [])
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]  # type: ignore[attr-defined]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _without_docstring

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.level or _is_ours(node.module or ""):
            return ast.ImportFrom(module=None, names=node.names, level=0)
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        kept = [alias for alias in node.names if not _is_ours(alias.name)]
        return ast.Import(names=kept) if kept else None


@cache
def _own_code(name: str) -> bytes:
    return _hashed(ast.parse(_source(name)))


def _hashed(tree: ast.Module) -> bytes:
    # The transformer works in place: parsing a module once for this, and once for its imports, is faster than a copy.
    return hashlib.sha256(ast.dump(_Bare().visit(tree)).encode()).digest()
