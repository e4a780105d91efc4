"""Fingerprint the code that a stage runs, file by file. Comments, docstrings and layout do not count.

The files are the modules of this repository that a module imports, directly or not, and the templates that they name.
They are read, not run.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cola_world.running.files import file_hash

SOURCES = Path(__file__).parents[2]  # the folder of the package `cola_world`
# How a job lives and what it costs does not change what it makes.
WITHOUT_EFFECT = ("cola_world/running/", "cola_world/__init__.py", "cola_world/training/flops.py", "stages/entry.py", "stages/__init__.py")


def code_of(*entries: Path, root: Path = Path(".")) -> dict[str, str]:
    """Map files to fingerprints of their code, for the entries and all that they import.

    Names count from the folder of the package and from `root`, the workspace whose `stages` the entries may import.
    """
    bases = (SOURCES, root.absolute())
    seen: set[Path] = set()
    todo = [entry.absolute() for entry in entries]
    while todo:
        path = todo.pop()
        if path in seen or name_of(path, bases).startswith(WITHOUT_EFFECT):
            continue
        seen.add(path)
        todo += imports(path, bases)
    code = {path: fingerprint(path) for path in seen if holds_code(path)}
    code |= {file: file_hash(file)[:16] for path in seen for file in files_beside(path)}
    return {name_of(path, bases): code[path] for path in sorted(code)}


def name_of(path: Path, bases: tuple[Path, ...]) -> str:
    return next(path.relative_to(base).as_posix() for base in bases if path.is_relative_to(base))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def fingerprint(path: Path) -> str:
    """Hash the syntax tree without docstrings. Empty fields do not count, because Python versions differ in them."""
    return hashlib.sha256(repr(plain(parsed(path))).encode()).hexdigest()[:16]


def plain(node: Any) -> Any:
    """Turn the tree into nested tuples without places in the file."""
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if name != "ctx"}
    if has_docstring(node):
        fields["body"] = node.body[1:]
    return (type(node).__name__, *((name, plain(value)) for name, value in fields.items() if value not in (None, [])))


def has_docstring(node: ast.AST) -> bool:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return documented and ast.get_docstring(node, clean=False) is not None


def holds_code(path: Path) -> bool:
    """Tell whether a file has code; the `__init__.py` of a package may only describe it."""
    return path.name != "__init__.py" or any(not isinstance(node, ast.Expr) for node in parsed(path).body)


def files_beside(path: Path) -> list[Path]:
    """Return the templates and other data files that a module names, in its folder or in a folder within it."""
    texts = (node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    named = [path.parent / text for text in set(texts) if re.fullmatch(r"[\w.-]*\w", text)]
    found = [file for place in named for file in (place.rglob("*") if place.is_dir() else [place])]
    return sorted(file for file in found if file.is_file() and file.suffix not in (".py", ".pyc"))


def imported_files(text: str, root: Path) -> list[Path]:
    """Return the files of the repository that a piece of code imports."""
    bases = (SOURCES, root.absolute())
    return sources_in(ast.parse(text), [], bases)


@cache
def imports(path: Path, bases: tuple[Path, ...]) -> list[Path]:
    """Return the files of the repository that the code at `path` may import."""
    base = next(base for base in bases if path.is_relative_to(base))
    found = sources_in(parsed(path), list(path.relative_to(base).parent.parts), bases)
    if path.name == "__init__.py" and imports_by_name(parsed(path)):
        found += sorted(path.parent.glob("*.py"))
    return found


def sources_in(tree: ast.Module, package: list[str], bases: tuple[Path, ...]) -> list[Path]:
    """Return the files of the repository that code of a package may import, with the packages that they are in."""
    names = [name.split(".") for name in names_in(tree, package)]
    found = [source_of(tuple(parts[:count]), bases) for parts in names for count in range(1, len(parts) + 1)]
    return [source for source in dict.fromkeys(found) if source]


def names_in(tree: ast.Module, package: list[str]) -> Iterator[str]:
    """Yield the dotted names that code of a package may import: `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_by_name(tree: ast.Module) -> bool:
    """Tell whether a package picks modules by name, so that any of them may be imported."""
    return any(isinstance(node, ast.Name) and node.id == "import_module" for node in ast.walk(tree))


@cache
def source_of(parts: tuple[str, ...], bases: tuple[Path, ...]) -> Path | None:
    """Return the file of a dotted module name of this repository, or None for any other."""
    for base in bases:
        path = base.joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None
