"""Output files that are there as a whole or not at all, and where work is kept until it is done."""

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
