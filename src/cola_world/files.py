"""Output files that are there as a whole or not at all, and where work is kept until it is done."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` at the end; after an error nothing is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def scratch(root: Path = Path(".")) -> Path:
    """Folder of unfinished work and of all runs: $COLA_SCRATCH, else `.cola` below `root`."""
    return Path(os.environ.get("COLA_SCRATCH", root / ".cola")).absolute()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a second process gets one clear error."""
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: str | Path) -> str:
    """Of texts and of the content of files: the name of a folder for what they decide."""
    words = [file_hash(part) if isinstance(part, Path) else part for part in parts]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]
