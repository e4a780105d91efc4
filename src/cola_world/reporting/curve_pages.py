"""A page for curves that the paper measures at snapshots: probing losses and prediction over training (Figures 4, 7,
8).
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cola_world.reporting import figures, html
from cola_world.reporting.html import HTML
from cola_world.reporting.metrics import METRICS
from cola_world.reporting.pages import Page
from cola_world.reporting.table_pages import INTERVALS, with_interval
from cola_world.reporting.tables import Estimate, estimate, seeds_text

PREDICTION = ("video/psnr", "video/ssim", "video/lpips", "video/fvd")


class Curve(NamedTuple):
    """Snapshots of runs, one run after the other. `until` cuts off what comes later, in paper steps."""

    label: str
    runs: tuple[str, ...]
    until: int | None = None


class Panel(NamedTuple):
    """A metric of `METRICS` on one corpus or group of corpora."""

    metric: str
    corpus: str


class CurvePage(Page):
    """The page `name` with every curve in every panel. `mark` is a step that all curves share, labelled `marked`."""

    def __init__(self, name: str, curves: Sequence[Curve], panels: Sequence[Panel], root: str = ".", marked: str = "joint training begins"):
        super().__init__(name, root)
        self.curves, self.panels, self.marked = curves, panels, marked

    def values(self, curve: Curve, panel: Panel) -> dict[int, Estimate]:
        """Map snapshots to what was measured, ascending."""
        chosen = self.rows[self.rows["run"].isin(curve.runs) & (self.rows["corpus"] == panel.corpus)]
        metric = METRICS[panel.metric]
        name = metric.found(chosen)
        kept = chosen[chosen["metric"] == name]
        steps = [step for step in sorted(set(kept["snapshot"])) if curve.until is None or step <= curve.until]
        return {step: estimate(of_one_run(chosen, curve, name, step), name, metric.scale) for step in steps}

    def seed_lists(self) -> set[tuple[int, ...]]:
        found = (self.values(curve, panel) for curve in self.curves for panel in self.panels)
        return {tuple(sorted(estimate.by_seed)) for values in found for estimate in values.values()}

    def name_of(self, panel: Panel) -> str:
        """Return the label of a metric, with our own name if a stand-in takes its place."""
        metric = METRICS[panel.metric]
        name = metric.found(self.rows[self.rows["corpus"] == panel.corpus])
        stand_in = f" ({name.partition('/')[2]})" if name and name != metric.ours[0] else ""
        return f"{metric.label}{stand_in}, {'lower' if metric.sign < 0 else 'higher'} is better"

    def shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        wanted = {(panel.corpus, METRICS[panel.metric].found(rows[rows["corpus"] == panel.corpus])) for panel in self.panels}
        return rows.merge(pd.DataFrame(wanted, columns=["corpus", "metric"]), on=["corpus", "metric"])

    def figure(self) -> Figure:
        with figures.style():
            figure, places = figures.grid(len(self.panels))
            colors = sns.color_palette("colorblind", len(self.curves))
            for panel, place in zip(self.panels, places, strict=True):
                for curve, color in zip(self.curves, colors, strict=True):
                    draw(place, self.values(curve, panel), color)
                self.finish(place, panel)
            handles = [Line2D([], [], marker="o", color=color, label=curve.label) for curve, color in zip(self.curves, colors, strict=True)]
            figures.legend(figure, handles, columns=4)
            return figure

    def finish(self, axes: Axes, panel: Panel) -> None:
        if not axes.lines:
            axes.text(0.5, 0.5, "not run", ha="center", va="center", transform=axes.transAxes, color="#777777")
        axes.axvline(self.plan.warmup_steps, color="#777777", lw=0.8, ls=":", zorder=1)
        place = {"transform": axes.get_xaxis_transform(), "fontsize": 7, "color": "#555555", "va": "top"}
        axes.text(self.plan.warmup_steps, 0.99, f" {self.marked}", **place)
        axes.set_title(f"{panel.corpus}: {self.name_of(panel)}", loc="left", fontsize=9.5)
        axes.set_xlabel("training steps, as the paper counts them")
        axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}K" if step else "0")

    def numbers(self) -> HTML:
        """Return what is drawn: one row per curve and snapshot, with intervals."""
        rows = []
        for curve in self.curves:
            found = [self.values(curve, panel) for panel in self.panels]
            for step in sorted(set().union(*found)):
                measured = zip(found, self.panels, strict=True)
                cells = [with_interval(values[step], panel.metric) if step in values else "–" for values, panel in measured]
                rows.append([curve.label, f"{step:,}", *cells])
        head = ["curve", "step", *(f"{panel.corpus}: {self.name_of(panel)}" for panel in self.panels)]
        table = html.table(head, rows, "numbers") if rows else html.paragraph("Not run.")
        seeds = seeds_text(value for curve in self.curves for panel in self.panels for value in self.values(curve, panel).values())
        return html.section("The numbers", table, html.paragraph(INTERVALS, "note"), html.paragraph(seeds, "note"))


def of_one_run(rows: pd.DataFrame, curve: Curve, name: str, step: int) -> pd.DataFrame:
    """Return the rows of the snapshot. If two runs of a curve meet there, the later one counts."""
    rows = rows[rows["snapshot"] == step]
    run = next(run for run in reversed(curve.runs) if ((rows["run"] == run) & (rows["metric"] == name)).any())
    return rows[rows["run"] == run]


def draw(axes: Axes, values: dict[int, Estimate], color: tuple) -> None:
    """Draw means with the band of their intervals."""
    if values:
        means, lows, highs, _ = zip(*values.values(), strict=True)
        axes.fill_between(list(values), lows, highs, color=color, alpha=0.13, lw=0)
        axes.plot(list(values), means, "o-", color=color, ms=4, lw=1.6)
