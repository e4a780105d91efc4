"""Compare experiments: the dials that each turns, and what that does to joint training."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import seaborn as sns
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from cola_world.reporting import figures, html
from cola_world.reporting.figures import LAM, Line
from cola_world.reporting.html import HTML
from cola_world.reporting.pages import FINAL_METRICS, METRIC_LABELS
from cola_world.reporting.render import TEMPLATES
from cola_world.reporting.results import finals, write

RUN = "e2e"
OUT = Path("reports/experiments.html")


class Experiment(NamedTuple):
    """`dials` is all of params.yaml. `rows` is results.csv, or None if the experiment did not come that far."""

    name: str
    dials: dict[str, Any]
    rows: pd.DataFrame | None


def compare(experiments: Sequence[Experiment], root: Path) -> None:
    """Write reports/experiments.html below `root`. The first experiment is the workspace, to which others are
    compared.

    Raises ValueError if there is nothing to compare.
    """
    if len(experiments) < 2:
        raise ValueError("compare: no experiments here; `dvc exp run -S warmup_steps=4000` makes one")
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("experiments.html.j2").render(
        style=HTML((TEMPLATES / "style.css").read_text()),
        picture=base64.b64encode(figures.image(curves(experiments), "svg")).decode(),
        table=final_table(experiments),
        run=RUN,
    )
    write(root / OUT, page)


def flat(dials: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys by dots."""
    found: dict[str, Any] = {}
    for key, value in dials.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def turned(experiment: Experiment, base: Experiment) -> dict[str, Any]:
    """Return the dials that differ from `base`, with their values here; None for a missing one."""
    own, other = flat(experiment.dials), flat(base.dials)
    return {key: own.get(key) for key in sorted(own.keys() | other.keys()) if own.get(key) != other.get(key)}


def final_table(experiments: Sequence[Experiment]) -> HTML:
    """Return last values of joint training, one experiment per row: mean, lowest and highest seed."""
    head = ["experiment", "dials turned", "scale", "seeds", *(METRIC_LABELS[metric] for metric in FINAL_METRICS)]
    return html.table(head, [final_row(experiment, experiments[0]) for experiment in experiments], "numbers")


def final_row(experiment: Experiment, base: Experiment) -> list[str]:
    dials = ", ".join(f"{key}={value}" for key, value in turned(experiment, base).items()) or "–"
    scale = str(experiment.dials.get("scale", "–"))
    if experiment.rows is None:
        return [experiment.name, dials, scale, "no results yet", *("–" for _ in FINAL_METRICS)]
    values = {metric: finals(experiment.rows, RUN, metric) for metric in FINAL_METRICS}
    seeds = max(len(series) for series in values.values())
    return [experiment.name, dials, scale, f"{seeds}", *(html.extent(series, FINAL_METRICS[m]) for m, series in values.items())]


def curves(experiments: Sequence[Experiment]) -> Figure:
    """Draw joint training of all experiments at the workspace's scale; dashed, its latent action model alone."""
    alike = [e for e in experiments if e.rows is not None and e.dials.get("scale") == experiments[0].dials.get("scale")]
    own = [e.rows[e.rows["run"] == RUN].assign(run=e.name) for e in alike]
    # The LAM of the workspace is the reference for all.
    rows = pd.concat([*own, alike[0].rows[alike[0].rows["run"] == LAM]]) if alike else pd.DataFrame(columns=["run", "metric"])
    colors = ["#222222", *sns.color_palette("viridis", max(1, len(alike) - 1))]
    lines = [Line(e.name, label(e, experiments[0]), color) for e, color in zip(alike, colors, strict=False)]
    return figures.lines(rows, lines)


def label(experiment: Experiment, base: Experiment) -> str:
    dials = ", ".join(f"{key}={value}" for key, value in turned(experiment, base).items())
    return f"{experiment.name}: {dials}" if dials else experiment.name
