"""Collects the marks `not in paper: because …` from the source: every choice that the paper leaves open, with its reason."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path("src")
MARK = re.compile(r"^(?P<code>[^#\"']*?)(?P<comment>#\s*)?\bnot in paper:\s*(?P<reason>.*)$")
DEFINITION = re.compile(r"^\s*(?:def|class)\s+(\w+)")


class Assumption(NamedTuple):
    """`file` from the repository's root; `subject`: the line of code or the definition that the mark is about."""

    file: str
    line: int
    reason: str
    subject: str


def assumptions(root: Path) -> list[Assumption]:
    """All marks below src/, by file and line."""
    return [found for path in sorted((root / SOURCE).rglob("*.py")) for found in marks(path, root)]


def marks(path: Path, root: Path) -> Iterator[Assumption]:
    lines = path.read_text().splitlines()
    for index, line in enumerate(lines):
        # A mark is followed by its reason; the words alone, as in this file, are none.
        if (found := MARK.match(line)) and found["reason"].startswith("because"):
            rest = comment_rest(lines[index + 1 :]) if found["comment"] else docstring_rest(lines[index + 1 :])
            reason = " ".join([found["reason"].strip(), *rest])
            yield Assumption(path.relative_to(root).as_posix(), index + 1, reason.rstrip('"'), subject(lines, index, found))


def comment_rest(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.strip().startswith("#"):
            return
        yield line.strip().lstrip("# ")


def docstring_rest(lines: list[str]) -> Iterator[str]:
    for line in lines:
        text = line.strip()
        if not text or text.startswith('"""'):
            return
        yield text.removesuffix('"""')
        if text.endswith('"""'):
            return


def subject(lines: list[str], index: int, found: re.Match[str]) -> str:
    """The code beside the mark, or the next line of code, or the definition whose docstring it stands in."""
    if found["comment"] is None:
        names = [defined[1] for line in lines[:index] if (defined := DEFINITION.match(line))]
        return names[-1] if names else ""
    if found["code"].strip():
        return found["code"].strip()
    following = (line.strip() for line in lines[index + 1 :])
    return next((line for line in following if line and not line.startswith(("#", "model_config"))), "")
