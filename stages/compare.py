"""Compare this workspace with its experiments, however they were run: reports/experiments.html.

No stage of the graph, because it reads what other runs of the graph have made. Run: make compare
"""

import io
import sys
from pathlib import Path

import dvc.api
import pandas as pd
import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from cola_world.reporting.experiments import Experiment, compare
from cola_world.reporting.results import RESULTS, read_rows

ROOT, DIALS = Path("."), "params.yaml"


def revisions() -> dict[str, str]:
    """Name -> commit of every experiment of any commit."""
    with Repo(str(ROOT)) as repo:
        found = repo.experiments.ls(all_commits=True)
    return dict(experiment for experiments in found.values() for experiment in experiments)


def experiment(name: str, revision: str) -> Experiment:
    dials = yaml.safe_load(dvc.api.read(DIALS, repo=str(ROOT), rev=revision))
    try:
        text = dvc.api.read(str(RESULTS), repo=str(ROOT), rev=revision)
    except (FileNotFoundError, DvcException):  # it failed before its results
        return Experiment(name, dials, None)
    return Experiment(name, dials, pd.read_csv(io.StringIO(text), dtype={"commit": str}, keep_default_na=False))


if __name__ == "__main__":
    try:
        workspace = Experiment("workspace", yaml.safe_load((ROOT / DIALS).read_text()), read_rows(ROOT))
        compare([workspace, *(experiment(*item) for item in sorted(revisions().items()))], ROOT)
    except ValueError as error:
        sys.exit(str(error))
    print("compared: reports/experiments.html")
