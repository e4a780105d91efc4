"""Collect the marks `not in paper: because …` from the source: each choice that the paper leaves open, with a reason."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path("src")
MARK = re.compile(r"^(?P<code>[^#\"']*?)(?P<comment>#\s*)?\bnot in paper:\s*(?P<reason>.*)$")
DEFINITION = re.compile(r"^\s*(?:def|class)\s+(\w+)")


class OpenChoice(NamedTuple):
    """A mark. `file` counts from the root of the repository; `subject` is the line of code or definition it is about."""

    file: str
    line: int
    reason: str
    subject: str


def open_choices(root: Path) -> list[OpenChoice]:
    """Return all marks below src/, by file and line."""
    return [found for path in sorted((root / SOURCE).rglob("*.py")) for found in marks(path, root)]


def marks(path: Path, root: Path) -> Iterator[OpenChoice]:
    lines = path.read_text().splitlines()
    for index, line in enumerate(lines):
        # A mark is followed by its reason. The words alone, as in this file, are no mark.
        if (found := MARK.match(line)) and found["reason"].startswith("because"):
            rest = comment_rest(lines[index + 1 :]) if found["comment"] else docstring_rest(lines[index + 1 :])
            reason = " ".join([found["reason"].strip(), *rest])
            yield OpenChoice(path.relative_to(root).as_posix(), index + 1, reason.rstrip('"'), subject(lines, index, found))


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
    """Return the code beside the mark, else the next line of code, else the definition whose docstring holds it."""
    if found["comment"] is None:
        names = [defined[1] for line in lines[:index] if (defined := DEFINITION.match(line))]
        return names[-1] if names else ""
    if found["code"].strip():
        return found["code"].strip()
    following = (line.strip() for line in lines[index + 1 :])
    return next((line for line in following if line and not line.startswith(("#", "model_config"))), "")
