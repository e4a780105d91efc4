"""What the rows say on a predicate: the numbers of every seed, and whether it holds there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SeedOutcome:
    """`numbers` is what was measured in this seed, one text per column of the evidence."""

    seed: int
    holds: bool
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """`trend` is None, or the rank correlation and its required minimum. `missing` says in one sentence what is."""

    columns: tuple[str, ...] = ()
    outcomes: tuple[SeedOutcome, ...] = ()
    trend: tuple[float, float] | None = None
    missing: str = ""
