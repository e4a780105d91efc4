"""Write what a measurement found: a table with one row per number."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cola_world.running.files import renamed

COLUMNS = ("run", "snapshot", "corpus", "seed", "metric", "value", "protocol")


def write_rows(path: Path, parts: Iterable[list[dict[str, Any]]]) -> None:
    """Write the rows of all parts in order."""
    with renamed(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for rows in parts:
            writer.writerows(rows)
