"""Which files of this repository a module imports, directly or not, read from the source without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path


def source_of(module: str, root: Path) -> Path | None:
    """File of a dotted module name of this repository, None for any other."""
    for base in (root / "src", root):
        path = base.joinpath(*module.split("."))
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
    return None


def package_of(path: Path, root: Path) -> list[str]:
    base = root / "src" if path.is_relative_to(root / "src") else root
    return list(path.relative_to(base).parent.parts)


def names_in(tree: ast.Module, package: list[str]) -> Iterator[str]:
    """Dotted names that code of a package may import: `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def closure(entry: Path, root: Path) -> set[Path]:
    """The entry and all files of the repository below its imports, without packages' files that only hold a docstring."""
    seen: set[Path] = set()
    todo = [entry]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in names_in(ast.parse(path.read_text()), package_of(path, root)):
            parts = name.split(".")
            sources = [source_of(".".join(parts[:count]), root) for count in range(1, len(parts) + 1)]
            todo += [source for source in sources if source]
    return {path.relative_to(root) for path in seen if not is_empty_package(path)}


def is_empty_package(path: Path) -> bool:
    """True for an __init__.py without imports, functions and classes."""
    if path.name != "__init__.py":
        return False
    code = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return not any(isinstance(node, code) for node in ast.walk(ast.parse(path.read_text())))
