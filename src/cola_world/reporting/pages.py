"""The parts of a page, each a value that a notebook shows."""

import base64
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cola_world.reporting import figures, html
from cola_world.reporting.architecture import PhaseLike, phase_rows
from cola_world.reporting.claims import Claims, read_claims
from cola_world.reporting.html import HTML
from cola_world.reporting.placebo import Tried, try_all
from cola_world.reporting.placebo_table import placebo_text
from cola_world.reporting.plan import ReportPlan, read_plan
from cola_world.reporting.predicates import METRIC_LABELS
from cola_world.reporting.results import HELDOUT, finals, read_rows, read_runs

SCALES = {
    "smoke": "checks that every stage runs; its numbers mean nothing",
    "cpu": "the paper's method in small models on simulated video, on two CPU cores",
    "gpu": "mid-size models on one GPU",
    "paper": "the paper's sizes and budgets",
}
# Metrics of the table of final values, and their decimals.
FINAL_METRICS = {
    "codebook/utilization": 3,
    "codebook/max_usage": 3,
    "codebook/entropy_normalized": 3,
    "codebook/entropy": 3,
    "shuffle_gap": 5,
    "flow_loss": 4,
}


class Picture:
    """A figure as both image types, which a notebook stores and `render` extracts."""

    def __init__(self, figure: Figure, alt: str):
        self.figure, self.alt = figure, alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        svg = figures.image(self.figure, "svg").decode()
        png = base64.b64encode(figures.image(self.figure, "png")).decode()
        data = {"image/svg+xml": svg, "image/png": png}
        return data, {kind: {"alt": self.alt} for kind in data}


class Page:
    """The page `name` of the repository at `root`. Raises ValueError if rows, plan or claims are missing or wrong."""

    def __init__(self, name: str, root: str | Path = "."):
        self.name, self.root = name, Path(root)

    @cached_property
    def plan(self) -> ReportPlan:
        return read_plan(self.root)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Result rows of the plan's scale and seeds."""
        rows = read_rows(self.root)
        return rows[(rows["scale"] == self.plan.scale) & rows["seed"].isin(self.plan.seeds)]

    @cached_property
    def runs(self) -> dict[str, dict[str, Any]]:
        return read_runs(self.root)

    @cached_property
    def claims(self) -> Claims:
        return read_claims(self.root)

    @cached_property
    def tried(self) -> list[Tried]:
        """The claims of this page, on their own runs and on their placebos."""
        own = [claim for claim in self.claims.claims if claim.page == self.name]
        return try_all(self.claims.model_copy(update={"claims": own}), self.rows, self.plan.scale)

    def picture(self, figure: Figure, alt: str) -> Picture:
        return Picture(figure, alt)

    def parameters(self) -> dict[str, int]:
        """Return the number of weights of each part, from any run that states them."""
        stated = [run["parameters"] for _, run in sorted(self.runs.items()) if run.get("parameters")]
        return stated[0] if stated else {}

    def seed_lists(self) -> set[tuple[int, ...]]:
        """Return which seeds the numbers of this page have: those of the runs that its claims name."""
        runs = {run for tried in self.tried for run in tried.own.claim.runs()}
        return run_seeds(self.rows[self.rows["run"].isin(runs)])

    def badge(self, lists: set[tuple[int, ...]] | None = None) -> HTML:
        plan = self.plan
        lists = self.seed_lists() if lists is None else lists
        seeds = f"{seeds_counted(lists)}. " if lists else ""
        about = SCALES.get(plan.scale, "")
        return HTML(
            f'<p class="badge"><span class="scale">scale: {html.text(plan.scale)}</span> {html.text(about)}. '
            f"{seeds}{html.text(self.steps_text())}</p>"
        )

    def steps_text(self) -> str:
        """Say what a step on the axes stands for."""
        factor = self.plan.steps_per_paper_step
        if factor == 1:
            return "Steps are optimiser steps, as in the paper."
        return (
            f"Steps are counted as in the paper; one of them is {factor:g} optimiser steps here, so that the paper's 30000 are "
            f"{round(30000 * factor)}."
        )

    def final_values(self, runs: Sequence[str]) -> HTML:
        """Show last values by run: mean and range over seeds."""
        rows = []
        for run in runs:
            values = {metric: finals(self.rows, run, metric) for metric in FINAL_METRICS}
            seeds = max(len(series) for series in values.values())
            last = self.rows.loc[self.rows["run"] == run, "snapshot"].max() if seeds else None
            numbers = [html.extent(series, FINAL_METRICS[metric]) for metric, series in values.items()]
            rows.append([HTML(f"<code>{html.text(run)}</code>"), f"{last}" if seeds else "not run", f"{seeds}", *numbers])
        head = ["run", "step", "seeds", *(METRIC_LABELS[metric] for metric in FINAL_METRICS)]
        note = (
            "Mean over seeds, and below it the lowest and the highest seed. The shuffle gap is by how much the flow loss rises "
            "when each clip is given another clip's actions; codes that are used but mean nothing have none. A latent action "
            "model by itself has neither, as it has no world model."
        )
        return html.section("Final values", html.table(head, rows, "numbers"), html.paragraph(note, "note"))

    def forks(self) -> list[str]:
        """Return the e2e runs in the order of their warm-up."""
        return [line.run for line in figures.fork_lines(self.rows)]

    def summary(self) -> HTML:
        return html.summary([tried.own for tried in self.tried])

    def verdicts(self) -> HTML:
        cards = [html.claim_card(tried.own, placebo_text(tried)) for tried in self.tried]
        rules = html.paragraph(html.rules_text(self.claims.rules), "note")
        return html.section("Claims of the paper, and what these runs say", *cards, rules)

    def phase_table(self, phases: Mapping[str, PhaseLike]) -> HTML:
        rows = phase_rows(phases)
        body = [[mark_state(value) for value in row.values()] for row in rows]
        return html.section("Who learns from which loss", html.table(list(rows[0]), body, "phases"))

    def parameter_table(self) -> HTML:
        counts = self.parameters()
        if not counts:
            return HTML("")
        rows = [[name, f"{count:,}"] for name, count in counts.items()]
        return html.section("Size of the parts at this scale", html.table(["part", "weights"], rows, "numbers"))

    def provenance(self, runs: Sequence[str]) -> HTML:
        """Say where every number on the page comes from."""
        known = [run for run in runs if run in self.runs]
        rows = self.shown(self.rows[self.rows["run"].isin(known)])
        shares = ", ".join(f"{name} {share:.1%}" for name, share in self.plan.data.items())
        facts = [
            ["commit of the runs", ", ".join(sorted(set(rows["commit"]))) or "–"],
            ["measured on", self.protocols(rows)],
            ["training clips by corpus", shares],
            ["seeds", self.seeds_text()],
            ["warm-up", f"{self.plan.warmup_steps} steps; sweep {', '.join(map(str, self.plan.warmup_sweep)) or 'none'}"],
            *self.training_facts(known),
            *(["note", note] for note in self.plan.notes),
        ]
        numbers = "Every number is a row of results.csv beside this page, with its run, step, seed, protocol and commit."
        table = html.table([], facts, "facts")
        parents = html.table(["run", "phase", "starts from", "steps"], [self.run_facts(run) for run in known], "facts")
        return html.section("Where the numbers come from", table, parents if known else "", html.paragraph(numbers, "note"))

    def shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that the page is made of."""
        return rows[rows["corpus"] == HELDOUT]

    def protocols(self, rows: pd.DataFrame) -> str:
        """Say how the numbers of these runs were measured, one protocol per line."""
        return HTML("<br>".join(html.text(text) for text in sorted(set(rows["protocol"])))) or "–"

    def seeds_text(self) -> str:
        searched = self.claims.rules.search_seeds
        reported, tried = (", ".join(map(str, seeds)) for seeds in (self.plan.seeds, searched))
        if set(searched) & set(self.plan.seeds):
            return f"{reported}; choices were searched on seed {tried}, which is drawn here and does not count for a verdict"
        return f"{reported}; choices were searched on seed {tried} only, and the reported seeds are others"

    def training_facts(self, runs: Sequence[str]) -> list[list[str]]:
        """Show the optimiser's settings, in one line if all runs share them, as the arms of a comparison must."""
        lines: dict[str, list[str]] = {}
        for run in runs:
            settings = self.runs[run].get("training", {})
            lines.setdefault(", ".join(f"{name} {value}" for name, value in sorted(settings.items())), []).append(run)
        if len(lines) == 1:
            return [["training", f"{next(iter(lines))}; the same for all runs of this page"]]
        return [["training of " + ", ".join(names), settings] for settings, names in lines.items()]

    def run_facts(self, run: str) -> list[str]:
        about = self.runs[run]
        parents = ", ".join(about["parents"]) or "random weights"
        return [run, about["phase"], parents, f"{about['steps']}, from {about['start_step']}"]

    def reproduce(self) -> HTML:
        notebook = f"notebooks/{self.name}.ipynb"
        commands = {
            "make repro": "everything, from video to this page",
            f"dvc repro page@{self.name}": "this page and what it needs",
            f"dvc exp run -S warmup_steps={max(1, self.plan.warmup_steps // 2)}": "another warm-up, and what depends on it",
        }
        width = max(map(len, commands))
        lines = "\n".join(f"{command:{width}}  # {what}" for command, what in commands.items())
        note = HTML(f"This page is <code>{notebook}</code>; what it computes is in <code>src/cola_world/reporting</code>.")
        return html.section("How to reproduce", HTML(f"<pre>{html.escape(lines)}</pre>"), html.paragraph(note))


def run_seeds(rows: pd.DataFrame) -> set[tuple[int, ...]]:
    """Return the seeds of each run."""
    return {tuple(sorted(set(seeds))) for _, seeds in rows[rows["corpus"] == HELDOUT].groupby("run")["seed"]}


def seeds_counted(lists: set[tuple[int, ...]]) -> str:
    """`4 seeds (1, 2, 3, 4)`, or `1 to 4 seeds (1, 2, 3, 4)` where numbers have unequal ones."""
    fewest, most = min(map(len, lists)), max(map(len, lists))
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{count} seed{'s' if most > 1 else ''} ({', '.join(map(str, sorted(set().union(*lists))))})"


def mark_state(value: str) -> str:
    return HTML(f'<span class="{value}">{value}</span>') if value in ("trained", "frozen") else value
