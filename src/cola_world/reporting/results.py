"""Collect the numbers of all planned runs into tidy files, and read them back.

`reports/results.csv` has one row per number, `reports/metrics.json` the last values at a glance, `reports/runs.json`
the settings of runs, `reports/costs.csv` their cost. Only the costs differ between two undisturbed runs of one
commit.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from cola_world.running.cost import unfinished

RESULTS, RUNS, COSTS, METRICS = (Path("reports") / name for name in ("results.csv", "runs.json", "costs.csv", "metrics.json"))
COLUMNS = ("run", "snapshot", "corpus", "seed", "scale", "metric", "value", "protocol", "commit")
COST_COLUMNS = (
    "run", "seed", "outcome", "attempts", "wall_s", "steps", "samples", "flops", "mfu",
    "peak_rss_mb", "peak_device_mb", "device", "devices", "commit",
)  # fmt: skip
# Corpus name of metrics on the fixed held-out clips of the whole mixture.
HELDOUT = "heldout"
# Folders of runs/ with rows of later stages, one file per run: all columns but scale and commit.
MEASUREMENTS = ("probe", "evaluate")
Row = dict[str, Any]


def collect(root: Path) -> None:
    """Write the four files below `root` from the run folders. Values are copied digit by digit, not parsed and
    printed.
    """
    folders = planned_runs(root)
    of_runs = (row for folder in folders for row in (*run_rows(folder), *measured_rows(folder)))
    rows = sorted((*of_runs, *ceiling_rows(root / "runs")), key=row_key)
    write(root / RESULTS, table(COLUMNS, rows))
    write(root / COSTS, table(COST_COLUMNS, cost_rows(root, folders)))
    write(root / METRICS, json.dumps(final_means(read_rows(root)), indent=1, sort_keys=True) + "\n")
    runs = {folder.name: describe(folder, root) for folder in folders}
    write(root / RUNS, json.dumps(runs, indent=1, sort_keys=True) + "\n")


def planned_runs(root: Path) -> list[Path]:
    """Return the folders of finished runs that are still planned: a run dropped from the dials leaves its folder
    behind.
    """
    plans = root / "runs" / "plan"
    folders = (path.parent for path in (root / "runs").glob("*/run.json"))
    return sorted(folder for folder in folders if (plans / f"{folder.name}.json").exists())


def run_rows(folder: Path) -> Iterator[Row]:
    about = read_json(folder / "run.json")
    commits = commits_of(folder)
    for path in sorted((folder / "metrics").glob("seed*.csv")):
        seed = path.stem.removeprefix("seed")
        shared = {
            "run": folder.name,
            "corpus": HELDOUT,
            "seed": seed,
            "scale": about["scale"],
            "protocol": about["protocol"],
            "commit": commits.get(seed, "none"),
        }
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield shared | {"snapshot": row["step"], "metric": row["metric"], "value": row["value"]}


def measured_rows(folder: Path) -> Iterator[Row]:
    """Yield rows of the planned measurements of a run, with the scale and the commit that trained it."""
    about, commits, runs = read_json(folder / "run.json"), commits_of(folder), folder.parent
    for measurement in MEASUREMENTS:
        path = runs / measurement / f"{folder.name}.csv"
        if not path.is_file() or not (runs / "plan" / measurement / f"{folder.name}.json").is_file():
            continue
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield row | {"scale": about["scale"], "commit": commits.get(row["seed"], "none")}


def ceiling_rows(runs: Path) -> Iterator[Row]:
    """Yield rows of what probes could read at best. No run is behind them, so that they have no commit."""
    path, plan = runs / "ceilings" / "ceilings.csv", runs / "plan" / "ceilings.json"
    if path.is_file() and plan.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                yield row | {"scale": read_json(plan)["scale"], "commit": "none"}


def commits_of(folder: Path) -> dict[str, str]:
    """Map seeds to the commit that trained them."""
    return {seed: cost["commit"] for seed, cost in read_json(folder / "cost.json")["seeds"].items()}


def row_key(row: Row) -> tuple:
    return row["run"], int(row["snapshot"]), row["corpus"], int(row["seed"]), row["metric"]


def cost_rows(root: Path, folders: list[Path]) -> Iterator[Row]:
    """Yield costs of stages ahead of training, of every run and seed, and of work that was never finished."""
    spent = [read_json(path) for path in sorted((root / "runs" / "cost").glob("*.json"))]
    names = {folder.name for folder in folders}
    for folder in folders:
        seeds = read_json(folder / "cost.json")["seeds"]
        # Equal runs are trained once, and the run that was trained has the cost.
        own = [seed for seed in sorted(seeds, key=int) if seeds[seed].get("run", folder.name) not in names - {folder.name}]
        spent += [seeds[seed] | {"run": folder.name, "seed": seed} for seed in own]
    for cost in [*spent, *unfinished(root)]:
        yield {name: cost.get(name, "") for name in COST_COLUMNS}


def describe(folder: Path, root: Path) -> dict[str, Any]:
    """Return the run's own description with the numbers of its plan that decide what it learns."""
    plan = read_json(root / "runs" / "plan" / f"{folder.name}.json")
    return read_json(folder / "run.json") | {name: plan[name] for name in ("training", "seeds") if name in plan}


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def table(columns: tuple[str, ...], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write(path: Path, text: str | bytes) -> None:
    """Replace the file as a whole, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(text.encode() if isinstance(text, str) else text)
    os.replace(partial, path)


def read_rows(root: Path) -> pd.DataFrame:
    """Read `reports/results.csv` with numbers as numbers. Raises ValueError if it is not there."""
    path = root / RESULTS
    if not path.exists():
        raise ValueError(f"{RESULTS}: missing; `python -m stages.report results` collects it from runs/")
    return pd.read_csv(path, dtype={"snapshot": int, "seed": int, "value": float, "commit": str}, keep_default_na=False)


def read_costs(root: Path) -> pd.DataFrame:
    """Read `reports/costs.csv`. What a row lacks is missing, such as the steps of a stage that trains nothing."""
    return pd.read_csv(root / COSTS, dtype={"commit": str, "run": str})


def read_runs(root: Path) -> dict[str, dict[str, Any]]:
    return read_json(root / RUNS)


def curve(rows: pd.DataFrame, run: str, metric: str) -> pd.DataFrame:
    """Return the metric of a run, sorted: columns snapshot (paper steps), seed, value."""
    chosen = rows[(rows["run"] == run) & (rows["metric"] == metric)]
    return chosen[["snapshot", "seed", "value"]].sort_values(["seed", "snapshot"], ignore_index=True)


def finals(rows: pd.DataFrame, run: str, metric: str) -> pd.Series:
    """Return the last value of the metric by seed."""
    return curve(rows, run, metric).groupby("seed")["value"].last()


def final_means(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Map run and metric to the mean over seeds of the last held-out values."""
    rows = rows[rows["corpus"] == HELDOUT]
    found: dict[str, dict[str, float]] = {}
    for run, metric in sorted(set(rows[["run", "metric"]].itertuples(index=False, name=None))):
        if not metric.startswith("train/"):
            found.setdefault(run, {})[metric] = float(f"{finals(rows, run, metric).mean():.6g}")
    return found
