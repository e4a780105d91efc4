"""Worlds of synthetic rows: a living one, in which the paper's claims hold, and dead ones, in which no action is used."""

from pathlib import Path

import pandas as pd
import synthetic

from cola_world.reporting.results import collect, read_rows

SEEDS = [1, 2, 3, 4]


def living(root: Path) -> pd.DataFrame:
    """Return rows in which every run, the heavy ones too, has all seeds."""
    synthetic.write_plan(root, SEEDS)
    for run in synthetic.RUNS | synthetic.MEASURED:
        synthetic.write_run(root, run, SEEDS, log_every=4000)
    synthetic.write_measurements(root, SEEDS, SEEDS)
    collect(root)
    return read_rows(root)


def dead(rows: pd.DataFrame, runs: str = ".*") -> pd.DataFrame:
    """Return the rows as they are where the actions of matching runs are multiplied by 0: no gap, and the loss of no action."""
    changed, there = rows.copy(), rows["run"].str.fullmatch(runs)
    for end, value in (("", 0.0), ("_low", -0.001), ("_high", 0.001)):
        changed.loc[there & rows["metric"].str.fullmatch(f"(shuffle|pixel|zero)_gap{end}"), "value"] = value
    return changed


def without_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a time when gaps had no intervals."""
    return rows[~rows["metric"].str.fullmatch("(shuffle|pixel|zero)_gap_(low|high)")]
