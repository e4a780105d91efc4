"""The paper's tables beside ours: the value of each method on each data set, and who wins."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from cola_world.reporting.metrics import METRICS

PAPER, STAND_INS = Path("data/paper/tables.csv"), Path("data/paper/standins.yaml")
RESAMPLES = 2000
# Key of the stand-ins that lists data sets which are the paper's own.
SAME = "the_same"


class Estimate(NamedTuple):
    """Mean over seeds with its 95 % interval: over seeds if there are several, else the one that came with the row."""

    mean: float
    low: float
    high: float
    by_seed: dict[int, float]


class Place(NamedTuple):
    """The cell of our results that corresponds to a cell of the paper's table."""

    run: str
    snapshot: int
    corpus: str

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(rows["run"] == self.run) & (rows["snapshot"] == self.snapshot) & (rows["corpus"] == self.corpus)]


class Cell(NamedTuple):
    """A number of the paper and ours. `name` is our metric, maybe a stand-in's, or None without rows. `same_data`: ours is
    of the paper's own data.
    """

    corpus: str
    method: str
    metric: str
    paper: float
    place: Place
    name: str | None
    ours: Estimate | None
    same_data: bool = False


class Ordering(NamedTuple):
    """Which method wins on a data set, in the paper and here, and by how much it leads the next one.

    `clear`: with several seeds, the interval of every paired lead is above zero; else the intervals are apart.
    """

    corpus: str
    metric: str
    paper: str
    paper_lead: float
    ours: str | None = None
    lead: Estimate | None = None
    clear: bool = False

    @property
    def agrees(self) -> bool | None:
        return None if self.ours is None else self.ours == self.paper


def read_paper(root: Path, table: str) -> pd.DataFrame:
    """Read the rows of one table as the paper prints them. Raises ValueError for an unknown table."""
    rows = pd.read_csv(root / PAPER, dtype={"table": str, "snapshot": int})
    if table not in set(rows["table"]):
        raise ValueError(f"{PAPER}: no table {table!r}; there are {', '.join(sorted(set(rows['table'])))}")
    return rows[rows["table"] == table]


def stand_in(stand_ins: dict, corpus: str, metric: str) -> str:
    """Return our corpus, or group of corpora, for the paper's: one for all metrics, or one per kind.

    not in paper: because Table 7 names no data set for its video metrics, that of its probes, LIBERO, is taken for all.
    """
    ours = stand_ins[corpus]
    return ours if isinstance(ours, str) else ours.get(metric) or ours[metric.partition("/")[0]]


def cells(rows: pd.DataFrame, root: Path, table: str) -> list[Cell]:
    """Return every number of the table with ours, in the paper's order."""
    stand_ins = yaml.safe_load((root / STAND_INS).read_text())
    found = []
    for row in read_paper(root, table).itertuples():
        place = Place(row.run, row.snapshot, stand_in(stand_ins, row.corpus, row.metric))
        chosen = place.of(rows)
        name = METRICS[row.metric].found(chosen)
        ours = None if name is None else estimate(chosen, name, METRICS[row.metric].scale)
        found.append(Cell(row.corpus, row.method, row.metric, row.value, place, name, ours, row.corpus in stand_ins[SAME]))
    return found


def estimate(rows: pd.DataFrame, metric: str, scale: float) -> Estimate:
    kept = rows[rows["metric"] == metric]
    by_seed = {int(seed): float(value) * scale for seed, value in zip(kept["seed"], kept["value"], strict=True)}
    if len(by_seed) > 1:
        return over_seeds(by_seed)
    [value] = by_seed.values()
    ends = (rows.loc[rows["metric"] == f"{metric}_{end}", "value"] * scale for end in ("low", "high"))
    return Estimate(value, *(float(end.iloc[0]) if len(end) else value for end in ends), by_seed)


def seeds_text(found: Iterable[Estimate]) -> str:
    """Say which seeds each number has."""
    lists = sorted({", ".join(map(str, sorted(each.by_seed))) for each in found})
    return f"Seeds of a number: {' or '.join(lists)}." if lists else "There are no numbers of ours yet."


def over_seeds(by_seed: dict[int, float]) -> Estimate:
    values = np.array([by_seed[seed] for seed in sorted(by_seed)])
    return Estimate(float(values.mean()), *bootstrap(values), by_seed)


def bootstrap(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean over seeds, resampled with the same random numbers every time."""
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), [0.025, 0.975])
    return float(low), float(high)


def orderings(found: list[Cell]) -> list[Ordering]:
    """Return one ordering per data set and metric, without ours if a method has no rows."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in found:
        groups.setdefault((cell.corpus, cell.metric), []).append(cell)
    return [ordering(corpus, metric, group) for (corpus, metric), group in groups.items()]


def ordering(corpus: str, metric: str, group: list[Cell]) -> Ordering:
    sign = METRICS[metric].sign
    first, second = sorted((sign * cell.paper for cell in group), reverse=True)[:2]
    paper = max(group, key=lambda cell: sign * cell.paper).method
    if any(cell.ours is None for cell in group):
        return Ordering(corpus, metric, paper, first - second)
    best, *others = sorted(group, key=lambda cell: -sign * cell.ours.mean)
    leads = [lead(best.ours, other.ours, sign) for other in others]
    return Ordering(corpus, metric, paper, first - second, best.method, leads[0], all(each.low > 0 for each in leads))


def lead(best: Estimate, other: Estimate, sign: int) -> Estimate:
    """Return by how much it is better: over the seeds that both have or, with a single one, from interval to
    interval.
    """
    paired = {seed: sign * (best.by_seed[seed] - other.by_seed[seed]) for seed in best.by_seed.keys() & other.by_seed.keys()}
    if len(paired) > 1:
        return over_seeds(paired)
    ends = [sign * (own - its) for own in best[1:3] for its in other[1:3]]
    return Estimate(sign * (best.mean - other.mean), min(ends), max(ends), paired)
