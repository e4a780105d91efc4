"""Figures 2 and 3 of the paper from result rows: pure functions. Equal figures are equal bytes."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cola_world.reporting.results import curve, finals

STYLE = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper", font_scale=1.05),
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "svg.hashsalt": "cola-world",
    "svg.fonttype": "path",
}
PANELS = {
    "codebook/utilization": "Utilisation\n(share of the codes in use)",
    "codebook/max_usage": "Maximum usage\n(share of the commonest code)",
    "codebook/entropy_normalized": "Normalised entropy\n(1 = all codes equally often)",
    # not in paper: because codes can be in use and yet mean nothing to the world model, the shuffle gap is drawn too.
    "shuffle_gap": "Shuffle gap\n(flow loss with another clip's actions)",
}
# Limits of collapse in data/paper/claims.yaml, drawn for the eye only.
COLLAPSED = {"codebook/max_usage": (0.9, "collapsed above"), "codebook/entropy_normalized": (0.2, "collapsed below")}
LAM = "lam"
DASHED = (0, (5, 3))


class Line(NamedTuple):
    run: str
    label: str
    color: str | tuple[float, ...]
    dashes: str | tuple = "-"


# Colours and legend of the paper's Figure 2.
COLLAPSE = (
    Line("naive_random", "IDM random, world model pre-trained", "#7f7f7f"),
    Line("naive_pretrained_idm", "IDM pre-trained, world model pre-trained", "#8c564b"),
    Line("both_random", "IDM random, world model random", "#2ca02c"),
)
NAIVE = Line("naive_random", "no warm-up", "#7f7f7f")
WARMUP = Line("warmup", "warm-up (world model frozen)", "#222222", (0, (1, 1.2)))


@contextmanager
def style() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):
        yield


def grid(count: int) -> tuple[Figure, list[Axes]]:
    """Lay out panels in up to two columns, above the legend."""
    columns = min(count, 2)
    lines = -(-count // columns)
    figure = Figure(figsize=(11, 0.7 + 3.3 * lines))
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    figure.subplots_adjust(left=0.07, right=0.98, top=1 - 0.11 / lines, bottom=0.27 / lines, wspace=0.2, hspace=0.45)
    for unused in panels[count:]:
        unused.set_visible(False)
    return figure, list(panels[:count])


def collapse(rows: pd.DataFrame) -> Figure:
    """Figure 2: joint training without a warm-up, from three initialisations; dashed, the pre-trained IDM."""
    with style():
        figure, panels = new_panels()
        lines = [line for line in COLLAPSE if line.run in set(rows["run"])]
        for metric, axes in panels.items():
            draw_lines(axes, rows, lines, metric)
            reference(axes, rows, metric)
            finish(axes, rows, metric)
        handles = [handle(line) for line in lines]
        if LAM in set(rows["run"]):
            label = "the pre-trained IDM (2-stage LAM, end)"
            handles.append(Line2D([], [], color="black", linestyle=DASHED, lw=1.3, label=label))
        legend(figure, handles, columns=2)
        return figure


def warmup(rows: pd.DataFrame) -> Figure:
    """Figure 3: the warm-up, and joint training from several moments of it; grey, joint training without one."""
    with style():
        figure, panels = new_panels()
        forks = fork_lines(rows)
        present = [line for line in (NAIVE, WARMUP) if line.run in set(rows["run"])]
        for metric, axes in panels.items():
            draw_lines(axes, rows, [*present, *forks], metric, seeds=False)  # five bands are as much as an eye takes in
            for line in forks:
                mark_switch(axes, rows, line, metric)
            finish(axes, rows, metric)
        switch = Line2D([], [], color="#555555", marker="o", ls="", mec="white", ms=6, label="switch to joint training")
        legend(figure, [*(handle(line) for line in [*present, *forks]), *([switch] if forks else [])], columns=4)
        return figure


def lines(rows: pd.DataFrame, chosen: list[Line]) -> Figure:
    """Draw any runs on the same panels; dashed, the LAM if its rows are among them."""
    with style():
        figure, panels = new_panels()
        for metric, axes in panels.items():
            draw_lines(axes, rows, chosen, metric, seeds=False)
            reference(axes, rows, metric)
            finish(axes, rows, metric)
        legend(figure, [handle(line) for line in chosen], columns=2)
        return figure


def fork_lines(rows: pd.DataFrame) -> list[Line]:
    """Return one blue per warm-up length, darker for longer ones. `e2e` precedes a fork of the sweep at the same
    step.
    """
    starts = rows[rows["run"].str.fullmatch(r"e2e(_from_\d+)?")].groupby("run")["snapshot"].min()
    by_start: dict[int, str] = {}
    for run, start in starts.sort_index().items():
        by_start.setdefault(int(start), run)
    colors = sns.color_palette("Blues", len(by_start) + 2)[2:]
    return [
        Line(run, f"warm-up of {start} steps" + (" (CoLA-World)" if run == "e2e" else ""), color)
        for (start, run), color in zip(sorted(by_start.items()), colors, strict=True)
    ]


def new_panels() -> tuple[Figure, dict[str, Axes]]:
    figure = Figure(figsize=(15, 4.1))
    panels = figure.subplots(1, len(PANELS))
    figure.subplots_adjust(left=0.035, right=0.99, top=0.84, bottom=0.3, wspace=0.42)
    return figure, dict(zip(PANELS, panels, strict=True))


def draw_lines(axes: Axes, rows: pd.DataFrame, lines: Iterable[Line], metric: str, seeds: bool = True) -> None:
    """Draw the mean over seeds with the band from lowest to highest; with `seeds`, each seed as a thin line."""
    for line in lines:
        values = curve(rows, line.run, metric)
        shared = {"data": values, "x": "snapshot", "y": "value", "color": line.color, "ax": axes, "legend": False}
        if seeds:
            sns.lineplot(**shared, units="seed", estimator=None, lw=0.6, alpha=0.6)
        shared |= {"estimator": "mean", "errorbar": ("pi", 100), "err_kws": {"alpha": 0.13, "lw": 0}}
        sns.lineplot(**shared, lw=1.9, linestyle=line.dashes)


def reference(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    values = finals(rows, LAM, metric)
    if len(values):
        axes.axhline(values.mean(), color="black", linestyle=DASHED, lw=1.3, zorder=1.5)


def mark_switch(axes: Axes, rows: pd.DataFrame, line: Line, metric: str) -> None:
    values = curve(rows, line.run, metric)
    start = values["snapshot"].min()
    mean = values.loc[values["snapshot"] == start, "value"].mean()
    axes.plot([start], [mean], marker="o", ms=6.5, color=line.color, mec="white", mew=1, zorder=5)


def finish(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    if not axes.lines:
        axes.text(0.5, 0.5, "not run", ha="center", va="center", transform=axes.transAxes, color="#777777")
    axes.set_title(PANELS[metric], fontsize=10, loc="left")
    axes.set(xlabel="training steps, as the paper counts them", ylabel="")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}K" if step else "0")
    axes.set_xlim(left=0)
    set_height(axes, metric)
    if metric in COLLAPSED:
        mark_limit(axes, *COLLAPSED[metric])
    if metric == "codebook/entropy_normalized":
        nats_axis(axes, rows)


def set_height(axes: Axes, metric: str) -> None:
    if metric == "codebook/max_usage":
        axes.set_ylim(0, 1.03)
    elif metric == "shuffle_gap":  # may be a little below zero by chance
        axes.axhline(0, color="#444444", lw=0.8, zorder=1)
        axes.set_ylim(top=1.06 * highest(axes) or 1)
    else:
        axes.set_ylim(0, max(0.3, highest(axes)) * 1.06)


def highest(axes: Axes) -> float:
    """Return the top of all that is drawn, bands included."""
    return float(axes.dataLim.y1) if axes.lines else 0.0


def mark_limit(axes: Axes, limit: float, text: str) -> None:
    side = "bottom" if "above" in text else "top"
    axes.axhline(limit, color="#c0392b", lw=0.8, ls=":", zorder=1)
    place = {"ha": "right", "va": side, "transform": axes.get_yaxis_transform()}
    axes.text(0.995, limit, text, color="#c0392b", fontsize=7, **place)


def nats_axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Show entropy in nats on the right: normalised entropy times ln K."""
    pairs = rows[rows["metric"].isin(["codebook/entropy", "codebook/entropy_normalized"])]
    wide = pairs.pivot_table(index=["run", "snapshot", "seed"], columns="metric", values="value")
    if wide.shape[1] < 2 or not (wide["codebook/entropy_normalized"] > 0).any():
        return
    largest = wide.loc[wide["codebook/entropy_normalized"].idxmax()]
    nats = largest["codebook/entropy"] / largest["codebook/entropy_normalized"]
    right = axes.secondary_yaxis("right", functions=(lambda y: y * nats, lambda y: y / nats))
    right.set_ylabel(f"nats (ln {round(np.exp(nats))} = {nats:.2f})", fontsize=8)
    right.spines["right"].set_visible(True)


def handle(line: Line) -> Line2D:
    return Line2D([], [], color=line.color, linestyle=line.dashes, lw=2, label=line.label)


def legend(figure: Figure, handles: list[Line2D], columns: int) -> None:
    """Draw one legend for all panels, below them."""
    if handles:
        figure.legend(handles=handles, loc="lower center", ncols=min(columns, len(handles)), frameon=False, fontsize=9)


def image(figure: Figure, kind: str) -> bytes:
    """Render the figure as `svg` or `png` without date or version, so that equal figures are equal bytes."""
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()
