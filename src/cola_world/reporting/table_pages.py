"""A page for one of the paper's tables: its numbers beside ours, the winner of each row, and a picture of ours."""

import itertools
from functools import cached_property
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cola_world.reporting import figures, html, probe_groups
from cola_world.reporting.html import HTML
from cola_world.reporting.metrics import METRICS
from cola_world.reporting.pages import Page
from cola_world.reporting.tables import Cell, Estimate, Ordering, cells, estimate, orderings, seeds_text

NOT_RUN = "not run"
INTERVALS = (
    "Ours: the mean over seeds with its 95 % bootstrap interval, over seeds where there are several and over clips or pairs where "
    "there is one. Arms share their seeds. Fewer than five seeds allow no claim of significance."
)
SKILL = (
    "The skill is the share of the median action's loss that the probe takes away: 0 for latent actions that tell nothing, 1 for those "
    "that tell all. Where it is about 0, differences between probing losses are no differences between latent actions."
)
COPIES = (
    "To copy the given frame is to say that nothing moves. A prediction is one sampled future of many, and by PSNR even a good one may be "
    "further from the real one than the frame that both begin with; methods that come no closer say little by leading others. Guidance "
    "multiplies what the actions change, errors included; 1 is the conditional model alone. The mean is what the model predicts in a "
    "single step: a sample pays the variance of what cannot be known twice, the copied frame and the mean once."
)
OTHER_DATA = (
    "Data sets are the paper's names; data/paper/standins.yaml says what stands in for each of them here. A difference to the paper's "
    "number is given on the paper's own data alone; on other data, numbers of one table compare with each other and not with the paper's."
)
SAMPLED = ("as guided", "guidance 1", "mean")
LEADS = (
    "A lead is the winner's over the next best: over paired seeds with its bootstrap interval or, with one seed, from end to end of the "
    "two intervals, which tells nothing of what another seed would give. A win is clear when its lead over every other method is "
    "above zero in the whole interval, and within noise otherwise."
)


class TablePage(Page):
    """The page `name` on the table `table` of the paper."""

    def __init__(self, name: str, table: str, root: str | Path = "."):
        super().__init__(name, root)
        self.table = table

    @cached_property
    def cells(self) -> list[Cell]:
        return cells(self.rows, self.root, self.table)

    def seed_lists(self) -> set[tuple[int, ...]]:
        return {tuple(sorted(cell.ours.by_seed)) for cell in self.cells if cell.ours}

    @property
    def metrics(self) -> list[str]:
        """Metrics in the order of the table."""
        return list(dict.fromkeys(cell.metric for cell in self.cells))

    @property
    def corpora(self) -> list[str]:
        return list(dict.fromkeys(cell.corpus for cell in self.cells))

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(cell.method for cell in self.cells))

    def comparison(self) -> HTML:
        """Show the paper's numbers and ours, one row per method and data set."""
        found = {(cell.corpus, cell.method, cell.metric): cell for cell in self.cells}
        rows = [
            [corpus, method, *(text for metric in self.metrics for text in pair(found.get((corpus, method, metric)), metric))]
            for corpus, method in itertools.product(self.corpora, self.methods)
        ]
        head = ["data", "method", *(f"{METRICS[metric].label}, {whose}" for metric in self.metrics for whose in ("paper", "ours"))]
        notes = [html.paragraph(note, "note") for note in (INTERVALS, *self.notes())]
        return html.section("The paper's numbers and ours", html.table(head, rows, "numbers"), *notes)

    def notes(self) -> list[str]:
        """Say how many seeds there are, and name what stands in for a public metric."""
        names = {cell.metric: cell.name for cell in self.cells if cell.name and cell.name.endswith("_sim")}
        notes = [
            f"{METRICS[metric].label}: ours is {name.removeprefix('video/')}, measured with a small network trained on the stand-in "
            "corpora; it cannot be compared with the paper's number."
            for metric, name in names.items()
        ]
        seeds = seeds_text(cell.ours for cell in self.cells if cell.ours)
        return [seeds, *notes, OTHER_DATA]

    def shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        wanted = pd.DataFrame({(cell.place.corpus, cell.name) for cell in self.cells if cell.name}, columns=["corpus", "metric"])
        return rows.merge(wanted, on=["corpus", "metric"])

    def skills(self) -> HTML:
        """Show what probing losses are worth: the loss of always predicting the median, and the share that is gone; then
        what is read by group.
        """
        rows = []
        for cell in sorted((cell for cell in self.cells if cell.ours), key=lambda cell: self.corpora.index(cell.corpus)):
            values = [estimate(cell.place.of(self.rows), metric, 1.0) for metric in ("probe/l1_median", "probe/skill")]
            rows.append([cell.corpus, cell.method, *(with_interval(value, cell.metric) for value in values)])
        head = ["data", "method", "loss of the median action", "skill"]
        worth = html.section("What the losses are worth", html.table(head, rows, "numbers"), html.paragraph(SKILL, "note"))
        return HTML(f"{worth}\n{probe_groups.section(self.rows, self.cells)}")

    def copies(self) -> HTML:
        """Show what predictions are worth: the best of ours beside the copied last given frame, with other sampling too."""
        rows = []
        for corpus, name in itertools.product(self.corpora, [metric for metric in self.metrics if metric.startswith("video/")]):
            found = [cell for cell in self.cells if (cell.corpus, cell.metric) == (corpus, name) and cell.ours]
            if found:
                metric, cell = METRICS[name], max(found, key=lambda cell: METRICS[cell.metric].sign * cell.ours.mean)
                still = estimate(cell.place.of(self.rows), f"{cell.name}_copied", metric.scale).mean
                ways = [self.sampled(cell, ending) for ending in ("", "_guidance1", "_mean")]
                better = [value is not None and metric.sign * (value - still) > 0 for value in ways]
                told = [NOT_RUN if value is None else amount(value, name) for value in ways]
                which = ", ".join(label for label, wins in zip(SAMPLED, better, strict=True) if wins)
                rows.append([corpus, metric.label, cell.method, *told, amount(still, name), which or "none"])
        head = ["data", "metric", "best of ours", *SAMPLED, "the given frame, copied", "better than that"]
        return html.section("What the predictions are worth", html.table(head, rows, "verdicts"), html.paragraph(COPIES, "note"))

    def sampled(self, cell: Cell, ending: str) -> float | None:
        """Return the mean over seeds of the cell's metric with another way of sampling, or None where it has no row."""
        rows, name = cell.place.of(self.rows), f"{cell.name}{ending}"
        return estimate(rows, name, METRICS[cell.metric].scale).mean if name in set(rows["metric"]) else None

    def winners(self) -> HTML:
        """Show who wins each row, in the paper and here."""
        found = orderings(self.cells)
        head = ["data", "metric", "wins in the paper", "by", "wins here", "by", "", "agrees"]
        rows = [ordering_row(each) for each in found]
        told = [o for o in found if o.agrees is not None]
        count = f"{sum(o.agrees for o in told)} of {len(told)} rows agree; {sum(o.clear for o in told)} of the wins here are clear."
        notes = html.paragraph(count if told else "No row has been run."), html.paragraph(LEADS, "note")
        return html.section("Who wins", html.table(head, rows, "verdicts"), *notes)

    def figure(self) -> Figure:
        """Draw ours: a point and its interval for each method and data set."""
        with figures.style():
            figure, panels = figures.grid(len(self.metrics))
            colors = dict(zip(self.methods, sns.color_palette("colorblind", len(self.methods)), strict=True))
            for metric, axes in zip(self.metrics, panels, strict=True):
                draw(axes, [cell for cell in self.cells if cell.metric == metric], colors)
            handles = [Line2D([], [], marker="o", ls="", color=color, label=method) for method, color in colors.items()]
            figures.legend(figure, handles, columns=4)
            return figure


def pair(cell: Cell | None, metric: str) -> tuple[str, str]:
    """Show the paper's number, and ours with its interval and the difference; a dash for what the paper does not
    have.
    """
    if cell is None:
        return "–", "–"
    paper = amount(cell.paper, metric)
    if cell.ours is None:
        return paper, NOT_RUN
    return paper, HTML(f"{with_interval(cell.ours, metric)}{difference(cell)}")


def amount(value: float, metric: str) -> str:
    """Format with the metric's decimals, or with two digits if those would leave none."""
    places = METRICS[metric].decimals
    return f"{value:.{places}f}" if value == 0 or abs(value) >= 10**-places else f"{value:.2g}"


def with_interval(value: Estimate, metric: str) -> HTML:
    mean, low, high = (amount(number, metric) for number in value[:3])
    return HTML(f"{mean}<br><small>{low} to {high}</small>")


def difference(cell: Cell) -> HTML:
    """Return ours less the paper's, if both are of the same data; nothing if another network's number takes the
    metric's place.
    """
    if not cell.same_data:
        return HTML("<br><small>other data</small>")
    if cell.name.endswith("_sim"):
        return HTML("")
    gap = cell.ours.mean - cell.paper
    return HTML(f"<br><small>{'+' if gap > 0 else ''}{amount(gap, cell.metric)} to the paper</small>")


def here(found: Ordering) -> tuple[str, str]:
    return (NOT_RUN, "–") if found.lead is None else (found.ours, with_interval(found.lead, found.metric))


def ordering_row(found: Ordering) -> list[str]:
    there = found.paper, amount(found.paper_lead, found.metric)
    return [found.corpus, METRICS[found.metric].label, *there, *here(found), certainty(found), agreement(found)]


def certainty(found: Ordering) -> str:
    return "" if found.ours is None else "clear" if found.clear else "within noise"


def agreement(found: Ordering) -> str:
    return "–" if found.agrees is None else "yes" if found.agrees else "no"


def draw(axes: Axes, found: list[Cell], colors: dict[str, tuple]) -> None:
    """Draw data sets side by side, with the methods next to each other above each."""
    corpora, methods = list(dict.fromkeys(cell.corpus for cell in found)), list(colors)
    for cell in found:
        if cell.ours is not None:
            place = corpora.index(cell.corpus) + 0.5 * ((methods.index(cell.method) + 0.5) / len(methods) - 0.5)
            axes.plot([place, place], [cell.ours.low, cell.ours.high], color=colors[cell.method], lw=1.6)
            axes.plot([place], [cell.ours.mean], "o", color=colors[cell.method], ms=5)
    metric = METRICS[found[0].metric]
    stand_ins = sorted({cell.name.partition("/")[2] for cell in found if cell.name} - {found[0].metric.partition("/")[2]})
    label = f"{metric.label} ({', '.join(stand_ins)})" if stand_ins else metric.label
    better = f"{'lower' if metric.sign < 0 else 'higher'} is better" if any(cell.ours for cell in found) else NOT_RUN
    axes.set_title(f"{label}, {better}", loc="left", fontsize=10)
    axes.set_xticks(range(len(corpora)), corpora)
    axes.set_xlim(-0.5, len(corpora) - 0.5)
