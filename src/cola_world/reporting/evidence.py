"""Look up the numbers that a predicate asks for, and say in which seeds it holds."""

import operator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

import pandas as pd

from cola_world.reporting.metrics import METRICS
from cola_world.reporting.predicates import AT_LABELS, METRIC_LABELS, Compare, Condition, Kind, Moment, Tally, Trend
from cola_world.reporting.results import curve

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
# not in paper: because a line through two points is always monotone, a trend needs three warm-up lengths.
TREND_POINTS = 3


@dataclass(frozen=True)
class SeedOutcome:
    """`numbers` is what was measured in this seed, one text per column of the evidence."""

    seed: int
    holds: bool
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """`trend` is None, or the rank correlation and its required minimum."""

    columns: tuple[str, ...]
    outcomes: tuple[SeedOutcome, ...]
    trend: tuple[float, float] | None = None


def examine(predicate: Kind, rows: pd.DataFrame) -> tuple[str, Evidence]:
    """Return what is missing in one sentence, and the evidence if nothing is."""
    match predicate:
        case Compare():
            missing, evidence = missing_runs(predicate, rows), compare
        case Trend():
            missing, evidence = missing_family(predicate, rows), trend
        case Tally():
            missing, evidence = "", tally
    return (missing, Evidence((), ())) if missing else ("", evidence(predicate, rows))


def missing_runs(predicate: Compare, rows: pd.DataFrame) -> str:
    absent = [run for run in predicate.runs() if run not in set(rows["run"])]
    return f"There are no rows of {' and '.join(absent)}." if absent else ""


def missing_family(predicate: Trend, rows: pd.DataFrame) -> str:
    count = len(family(predicate, rows))
    if count >= 2:
        return ""
    return f"There {'is one warm-up length' if count else 'are no rows'} of {', '.join(predicate.runs)}; a comparison needs two."


def family(predicate: Trend, rows: pd.DataFrame) -> dict[int, str]:
    """Map the step at which a run begins to the run, ascending. Of two that begin together, the one that sorts first
    counts.
    """
    begins: dict[int, str] = {}
    for run, start in rows.groupby("run")["snapshot"].min().sort_index().items():
        if any(fnmatchcase(run, pattern) for pattern in predicate.runs):
            begins.setdefault(int(start), run)
    return dict(sorted(begins.items()))


def moment(values: pd.DataFrame, at: str) -> float:
    """Return a statistic of the curve of one seed (columns snapshot, value)."""
    value, step = values["value"].to_numpy(), values["snapshot"].to_numpy()
    if at == "peak_position":
        return float((step[value.argmax()] - step[0]) / max(1, step[-1] - step[0]))
    return float({"start": value[0], "end": value[-1], "minimum": value.min(), "maximum": value.max()}[at])


def moments(rows: pd.DataFrame, run: str, metric: str, at: str) -> dict[int, float]:
    return {int(seed): moment(values, at) for seed, values in curve(rows, run, metric).groupby("seed")}


def compare(predicate: Compare, rows: pd.DataFrame) -> Evidence:
    tested = [check(condition, predicate.run, rows) for condition in predicate.all_of]
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in tested)))
    outcomes = []
    for seed in seeds:
        holds = all(by_seed[seed][0] for by_seed in tested) != predicate.negate
        outcomes.append(SeedOutcome(seed, holds, tuple(by_seed[seed][1] for by_seed in tested)))
    return Evidence(tuple(condition.label() for condition in predicate.all_of), tuple(outcomes))


def check(condition: Condition, run: str, rows: pd.DataFrame) -> dict[int, tuple[bool, str]]:
    """Map seeds to whether the condition holds there, and to its numbers as text."""
    measured = moments(rows, run, condition.metric, condition.at)
    holds = OPERATORS[condition.op]
    if condition.relative_to is None:
        return {seed: (holds(value, condition.value), f"{value:.3f}") for seed, value in measured.items()}
    other = condition.relative_to
    references = moments(rows, other.run or run, condition.metric, other.at)
    tested = {}
    for seed in sorted(set(measured) & set(references)):
        bound = condition.value * references[seed]
        tested[seed] = holds(measured[seed], bound), f"{measured[seed]:.3f} (limit {bound:.3f})"
    return tested


def trend(predicate: Trend, rows: pd.DataFrame) -> Evidence:
    begins = family(predicate, rows)
    by_start = {start: moments(rows, run, predicate.metric, predicate.at) for start, run in begins.items()}
    seeds = sorted(set.intersection(*(set(values) for values in by_start.values())))
    outcomes = [
        SeedOutcome(seed, values[-1] > values[0], tuple(f"{value:.3f}" for value in values))
        for seed in seeds
        for values in [[by_start[start][seed] for start in begins]]
    ]
    means = pd.Series([sum(by_start[start][seed] for seed in seeds) / max(1, len(seeds)) for start in begins])
    correlation = rank_correlation(means) if len(begins) >= TREND_POINTS else float("nan")
    name = f"{METRIC_LABELS.get(predicate.metric, predicate.metric)} {AT_LABELS[predicate.at]}"
    columns = tuple(f"{name}, warm-up of {start}" for start in begins)
    return Evidence(columns, tuple(outcomes), (correlation, predicate.minimum_rank_correlation))


def tally(predicate: Tally, rows: pd.DataFrame) -> Evidence:
    """Tally seeds that have all numbers, one column per data set and metric: the better run's value before its
    rivals'.
    """
    columns, by_seed = [], {}
    for corpus, name in product(predicate.corpora, predicate.metrics):
        chosen = rows[rows["corpus"] == corpus]
        ours = METRICS[name].found(chosen) or name
        columns.append(f"{ours.partition('/')[2]}, {corpus}")
        best, *rivals = (chosen_values(chosen, ours, moment) for moment in (predicate.better, *predicate.than))
        for seed in set(best).intersection(*rivals):
            pairs = [(best[seed], values[seed]) for values in rivals]
            wins = [METRICS[name].sign * (own - rival) >= -predicate.margin * abs(rival) for own, rival in pairs]
            told = f"{best[seed]:.4g} against {', '.join(f'{rival:.4g}' for _, rival in pairs)}"
            by_seed.setdefault(seed, []).append((wins, told))
    outcomes = []
    for seed, found in sorted(by_seed.items()):
        if len(found) == len(columns):
            wins = [win for each, _ in found for win in each]
            share, texts = sum(wins) / len(wins), (text for _, text in found)
            outcomes.append(SeedOutcome(seed, share >= predicate.share, (f"{sum(wins)} of {len(wins)}", *texts)))
    return Evidence(("better in", *columns), tuple(outcomes))


def chosen_values(rows: pd.DataFrame, metric: str, moment: Moment) -> dict[int, float]:
    """Map seeds to the metric of one snapshot of a run."""
    chosen = rows[(rows["metric"] == metric) & (rows["run"] == moment.run) & (rows["snapshot"] == moment.at)]
    return {int(seed): float(value) for seed, value in zip(chosen["seed"], chosen["value"], strict=True)}


def rank_correlation(values: pd.Series) -> float:
    """Return Spearman's correlation of the values with their own order, 0 if all are equal."""
    ranks = values.rank()
    if ranks.nunique() == 1:
        return 0.0
    # Rounded, so that a correlation of exactly the minimum reaches it.
    return round(float(ranks.corr(pd.Series(range(len(ranks)), dtype=float))), 9)
