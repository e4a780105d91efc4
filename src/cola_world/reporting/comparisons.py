"""Predicates on what is measured at snapshots, data set by data set: `tally`, `slopes` and `lead`."""

from collections.abc import Callable
from itertools import product

import pandas as pd

from cola_world.reporting.evidence import Evidence, SeedOutcome
from cola_world.reporting.measured_predicates import Lead, Measured, Slopes, Tally
from cola_world.reporting.metrics import METRICS
from cola_world.reporting.predicates import Moment

# Whether each comparison on a data set and metric holds, and its numbers as text.
Found = tuple[list[bool], str]


def tally(predicate: Tally, rows: pd.DataFrame) -> Evidence:
    """Return one column per data set and metric: the better run's value before its rivals'."""

    def found(metric: str, values: dict[Moment, float]) -> Found:
        sign, own = METRICS[metric].sign, [values[moment] for moment in predicate.moments()]
        wins = [no_worse(sign * (own[i] - own[j]), predicate.margin * abs(own[j])) for i, j in predicate.pairs()]
        return wins, f"{own[0]:.4g} against {', '.join(f'{value:.4g}' for value in own[1:])}"

    return each(predicate, rows, found)


def no_worse(gain: float, allowed: float) -> bool:
    """Whether it is better or, where some is allowed, worse by no more than that."""
    return gain >= -allowed if allowed else gain > 0


def slopes(predicate: Slopes, rows: pd.DataFrame) -> Evidence:
    """Return one column per data set and metric: the gains of each comparison."""

    def found(metric: str, values: dict[Moment, float]) -> Found:
        sign = METRICS[metric].sign
        pairs = [[sign * (values[gain.until] - values[gain.since]) for gain in (one.gain, one.than)] for one in predicate.all_of]
        wins = [own > max(0.0, one.factor * other) for one, (own, other) in zip(predicate.all_of, pairs, strict=True)]
        return wins, ", ".join(f"{own:.4g} against {other:.4g}" for own, other in pairs)

    return each(predicate, rows, found)


def each(predicate: Measured, rows: pd.DataFrame, found: Callable[[str, dict[Moment, float]], Found]) -> Evidence:
    """Judge every data set and metric. A seed counts if it has all numbers, and holds if a share of all comparisons does."""
    columns, by_seed = [], {}
    for corpus, metric in product(predicate.corpora, predicate.metrics):
        name, values = by_seeds(rows, predicate, corpus, metric)
        columns.append(f"{name.partition('/')[2]}, {corpus}")
        for seed, numbers in values.items():
            by_seed.setdefault(seed, []).append(found(metric, numbers))
    outcomes = []
    for seed, parts in sorted(by_seed.items()):
        if len(parts) == len(columns):
            wins = [win for part, _ in parts for win in part]
            held = f"{sum(wins)} of {len(wins)}"
            outcomes.append(SeedOutcome(seed, sum(wins) >= predicate.share * len(wins), (held, *(text for _, text in parts))))
    return Evidence(("better in", *columns), tuple(outcomes))


def lead(predicate: Lead, rows: pd.DataFrame) -> Evidence:
    """Return one column per data set: the lead in each metric as a share of the rival's value."""
    by_seed: dict[int, dict[tuple[str, str], float]] = {}
    for corpus, metric in product(predicate.corpora, predicate.metrics):
        for seed, values in by_seeds(rows, predicate, corpus, metric)[1].items():
            own, rival = values[predicate.better], values[predicate.than]
            by_seed.setdefault(seed, {})[corpus, metric] = METRICS[metric].sign * (own - rival) / abs(rival)
    outcomes = []
    for seed, leads in sorted(by_seed.items()):
        if len(leads) == len(predicate.corpora) * len(predicate.metrics):
            lists = {corpus: [leads[corpus, metric] for metric in predicate.metrics] for corpus in predicate.corpora}
            holds = all(leads[corpus, predicate.largest] == max(values) > 0 for corpus, values in lists.items())
            outcomes.append(SeedOutcome(seed, holds, tuple(", ".join(f"{value:.1%}" for value in values) for values in lists.values())))
    names = ", ".join(METRICS[metric].label for metric in predicate.metrics)
    return Evidence(tuple(f"{corpus}: {names}" for corpus in predicate.corpora), tuple(outcomes))


def by_seeds(rows: pd.DataFrame, predicate: Measured, corpus: str, metric: str) -> tuple[str, dict[int, dict[Moment, float]]]:
    """Return our name of the metric, and the values of all moments for each seed that has all of them."""
    chosen = rows[rows["corpus"] == corpus]
    name = METRICS[metric].found(chosen) or metric
    values = {moment: chosen_values(chosen, name, moment) for moment in predicate.moments()}
    seeds = set.intersection(*(set(found) for found in values.values()))
    return name, {seed: {moment: found[seed] for moment, found in values.items()} for seed in seeds}


def chosen_values(rows: pd.DataFrame, metric: str, moment: Moment) -> dict[int, float]:
    """Map seeds to the metric of one snapshot of a run."""
    chosen = rows[(rows["metric"] == metric) & (rows["run"] == moment.run) & (rows["snapshot"] == moment.at)]
    return {int(seed): float(value) for seed, value in zip(chosen["seed"], chosen["value"], strict=True)}
