"""Output files that are written whole or not at all, and the place of unfinished work."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """Give a temporary name for a file or folder and rename it to `path` at the end. An error leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, so that equal content is an equal file."""
    with renamed(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def scratch(root: Path = Path(".")) -> Path:
    """Return the folder of unfinished work and of all runs: $COLA_SCRATCH, else `.cola` below `root`."""
    return Path(os.environ.get("COLA_SCRATCH", root / ".cola")).absolute()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises ValueError in one line in a second process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(f"run: {folder} is in use by process {file.read()}; wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def file_hash(path: Path) -> str:
    """Return the sha256 of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """Hash values that JSON knows and the content of files, to name a folder for what depends on them."""
    words = [file_hash(part) if isinstance(part, Path) else json.dumps(part, sort_keys=True) for part in parts]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]
