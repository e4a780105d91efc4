"""Predicates on whole curves of training: `compare` and `trend`."""

import math
import operator
from fnmatch import fnmatchcase

import pandas as pd

from cola_world.reporting.evidence import Evidence, SeedOutcome
from cola_world.reporting.predicates import METRIC_LABELS, Compare, Condition, Trend
from cola_world.reporting.results import curve

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
# not in paper: because a line through two points is always monotone, a trend needs three warm-up lengths.
TREND_POINTS = 3


def compare(predicate: Compare, rows: pd.DataFrame) -> Evidence:
    absent = [run for run in predicate.involved() if run not in set(rows["run"])]
    if absent:
        return Evidence(missing=f"There are no rows of {' and '.join(absent)}.")
    tested = [check(condition, predicate.run, rows) for condition in predicate.all_of]
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in tested)))
    outcomes = []
    for seed in seeds:
        held, texts = zip(*(by_seed[seed] for by_seed in tested), strict=True)
        outcomes.append(SeedOutcome(seed, all(held), texts))
    return Evidence(tuple(condition.label() for condition in predicate.all_of), tuple(outcomes))


def check(condition: Condition, run: str, rows: pd.DataFrame) -> dict[int, tuple[bool, str]]:
    """Map seeds to whether the condition holds there, and to its numbers as text."""
    measured = moments(rows, run, condition.metric, condition.at)
    holds = OPERATORS[condition.op]
    if condition.relative_to is None:
        return {seed: (holds(value, condition.value), f"{value:.3f}") for seed, value in measured.items()}
    other, until = condition.relative_to, math.inf
    if other.at == "same_step":
        until = curve(rows, run, condition.metric)["snapshot"].max()
    references = moments(rows, other.run or run, condition.metric, "end" if other.at == "same_step" else other.at, until)
    tested = {}
    for seed in sorted(set(measured) & set(references)):
        bound = condition.value * references[seed]
        tested[seed] = holds(measured[seed], bound), f"{measured[seed]:.3f} (limit {bound:.3f})"
    return tested


def moments(rows: pd.DataFrame, run: str, metric: str, at: str, until: float = math.inf) -> dict[int, float]:
    """Map seeds to a statistic of the curve up to the snapshot `until`."""
    values = curve(rows, run, metric)
    return {int(seed): moment(part, at) for seed, part in values[values["snapshot"] <= until].groupby("seed")}


def moment(values: pd.DataFrame, at: str) -> float:
    """Return a statistic of the curve of one seed (columns snapshot, value)."""
    value, step = values["value"].to_numpy(), values["snapshot"].to_numpy()
    if at == "peak_position":
        return float((step[value.argmax()] - step[0]) / max(1, step[-1] - step[0]))
    return float({"start": value[0], "end": value[-1], "minimum": value.min(), "maximum": value.max()}[at])


def trend(predicate: Trend, rows: pd.DataFrame) -> Evidence:
    """Look at the family at its ends, and at equal totals: runs that train for longer in all are healthier for that alone."""
    begins = family(predicate.runs, rows)
    if len(begins) < 2:
        found = "is one warm-up length" if begins else "are no rows"
        return Evidence(missing=f"There {found} of {', '.join(predicate.runs)}; a comparison needs two.")
    total = min(int(curve(rows, run, predicate.metric)["snapshot"].max()) for run in begins.values())
    looks = [[moments(rows, run, predicate.metric, "end", until) for run in begins.values()] for until in (math.inf, total)]
    seeds = sorted(set.intersection(*(set(values) for look in looks for values in look)))
    outcomes = [
        SeedOutcome(seed, all(values[-1] > values[0] for values in found), tuple(f"{value:.3f}" for values in found for value in values))
        for seed in seeds
        for found in [[[values[seed] for values in look] for look in looks]]
    ]
    means = [pd.Series([sum(values[seed] for seed in seeds) / max(1, len(seeds)) for values in look]) for look in looks]
    correlation = min(map(rank_correlation, means)) if len(begins) >= TREND_POINTS else math.nan
    name = METRIC_LABELS.get(predicate.metric, predicate.metric)
    columns = tuple(f"{name} {when}, warm-up of {start}" for when in ("at the end", f"at {total}") for start in begins)
    return Evidence(columns, tuple(outcomes), (correlation, predicate.minimum_rank_correlation))


def family(patterns: list[str], rows: pd.DataFrame) -> dict[int, str]:
    """Map the step at which a run begins to the run, ascending. Of two that begin together, the one that sorts first
    counts.
    """
    begins: dict[int, str] = {}
    for run, start in rows.groupby("run")["snapshot"].min().sort_index().items():
        if any(fnmatchcase(run, pattern) for pattern in patterns):
            begins.setdefault(int(start), run)
    return dict(sorted(begins.items()))


def rank_correlation(values: pd.Series) -> float:
    """Return Spearman's correlation of the values with their own order, 0 if all are equal."""
    ranks = values.rank()
    if ranks.nunique() == 1:
        return 0.0
    # Rounded, so that a correlation of exactly the minimum reaches it.
    return round(float(ranks.corr(pd.Series(range(len(ranks)), dtype=float))), 9)
