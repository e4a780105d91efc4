"""The front page of the reports, in HTML and as Markdown for the repository."""

import base64
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from cola_world.reporting import html, placebo_table
from cola_world.reporting.html import HTML
from cola_world.reporting.pages import Page, run_seeds
from cola_world.reporting.placebo import try_all
from cola_world.reporting.render import NOTEBOOKS, REPORTS, TEMPLATES, title
from cola_world.reporting.results import read_costs, write
from cola_world.reporting.verdicts import VERDICTS, Judgement

THUMBNAIL_WIDTH = 640
OPEN_CHOICES = Path("runs/plan/open_choices.json")


class Entry(NamedTuple):
    name: str
    title: str
    thumbnail: str


def build(root: Path) -> None:
    """Write reports/index.html, README.md and placebos.html below `root`. Only pages that exist are listed."""
    page = Page("index", root)
    tried = try_all(page.claims, page.rows, page.plan.scale)
    judgements = [each.own for each in tried]
    entries = [
        Entry(path.stem, title(nbformat.read(path, as_version=4)), thumbnail(root / REPORTS / "figures" / f"{path.stem}.png"))
        for path in sorted((root / NOTEBOOKS).glob("*.ipynb"))
        if (root / REPORTS / f"{path.stem}.html").exists()
    ]
    placebos = placebo_table.count(tried)
    write(root / REPORTS / "index.html", index(page, judgements, entries, placebos))
    write(root / REPORTS / "README.md", readme(page, judgements, entries, placebos))
    write(root / REPORTS / "placebos.html", placebo_table.page(tried, page.badge(run_seeds(page.rows))))


def index(page: Page, judgements: Sequence[Judgement], entries: Sequence[Entry], placebos: str) -> str:
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("index.html.j2").render(
        style=HTML((TEMPLATES / "style.css").read_text()),
        badge=page.badge(run_seeds(page.rows)),
        counts=counts(judgements),
        verdicts=verdict_table(judgements, {entry.name for entry in entries}),
        rules=html.rules_text(page.claims.rules),
        placebos=HTML(f'<a href="placebos.html">Each claim on runs that are not its own</a>: {placebos}.'),
        not_built=html.table(["not built", "where", "it needs"], not_built(page), "verdicts"),
        entries=entries,
        facts=facts(page),
        costs=cost_table(read_costs(page.root)),
        assumptions=assumption_table(page.root),
    )


def counts(judgements: Sequence[Judgement]) -> str:
    """`7 reproduced, 1 contradicted, 1 not measurable`"""
    found = Counter(judgement.verdict for judgement in judgements)
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict])


def verdict_table(judgements: Sequence[Judgement], pages: set[str]) -> HTML:
    rows = []
    for judgement in judgements:
        claim = judgement.claim
        statement = html.text(claim.statement)
        if claim.page in pages:
            statement = f'<a href="{claim.page}.html#{claim.id}">{statement}</a>'
        rows.append([html.pill(judgement.verdict), HTML(statement), claim.paper, html.counted(judgement), judgement.scale])
    return html.table(["verdict", "claim of the paper", "where", "holds in", "scale"], rows, "verdicts")


def not_built(page: Page) -> list[list[str]]:
    return [[claim.statement, claim.paper, claim.needs] for claim in page.claims.not_built]


def facts(page: Page) -> HTML:
    plan = page.plan
    rows = [
        ["data", ", ".join(f"{name} {share:.1%}" for name, share in plan.data.items()) + " of the training clips"],
        ["warm-up", f"{plan.warmup_steps} steps; sweep {', '.join(map(str, plan.warmup_sweep)) or 'none'}"],
        ["seeds", page.seeds_text()],
        ["commit of the runs", ", ".join(sorted(set(page.rows["commit"]))) or "–"],
        *(["note", note] for note in plan.notes),
    ]
    return html.table([], rows, "facts")


def cost_table(costs: pd.DataFrame) -> HTML:
    """Show time, work and memory by stage and run. Seeds of a run are summed, and so is unfinished work."""
    if costs.empty:
        return html.paragraph("No run has been made.")
    finished = costs["outcome"] == "done"
    rows = [cost_row(run, seeds) for run, seeds in costs[finished].groupby("run", sort=False)]
    if not finished.all():
        rows.append(cost_row("killed or failed, and not taken up again", costs[~finished]))
    rows.append(cost_row("all", costs))
    head = ["run", "seeds", "attempts", "optimiser steps each", "clips seen", "PFLOP", "MFU", "time", "most memory", "device"]
    return html.table(head, rows, "costs")


def cost_row(name: str, spent: pd.DataFrame) -> list[str]:
    """Return one line of the table, with a dash for what such work does not have."""
    seeds, steps, samples, flops = (spent[column].dropna() for column in ("seed", "steps", "samples", "flops"))
    steps = steps[steps > 0]
    return [
        name,
        f"{len(seeds)}" if name != "all" and len(seeds) else "–",
        f"{int(spent['attempts'].fillna(1).sum())}",
        f"{int(steps.max()):,}" if name != "all" and len(steps) else "–",
        f"{int(samples.sum()):,}" if len(samples) else "–",
        f"{flops.sum() / 1e15:.3g}" if len(flops) else "–",
        f"{spent['mfu'].mean():.1%}" if spent["mfu"].notna().any() else "–",
        f"{spent['wall_s'].sum() / 60:.1f} min",
        memory(spent),
        ", ".join(sorted(set(spent["device"]))),
    ]


def memory(spent: pd.DataFrame) -> str:
    """Return the memory of a process, and of its device if that has its own."""
    process, device = spent["peak_rss_mb"].max(), spent["peak_device_mb"].max()
    return f"{process:,.0f} MB" + (f", {device:,.0f} MB on the device" if device > 0 else "")


def assumption_table(root: Path) -> HTML:
    rows = []
    for found in json.loads((root / OPEN_CHOICES).read_text())["choices"]:
        file = os.path.relpath((root / found["file"]).resolve(), (root / REPORTS).resolve())  # either may be a link
        place = f'<a href="{html.text(file)}"><code>{html.text(Path(found["file"]).name)}:{found["line"]}</code></a>'
        rows.append([HTML(place), HTML(f"<code>{html.text(found['subject'])}</code>"), found["reason"]])
    return html.table(["where", "what", "why"], rows, "assumptions")


def thumbnail(path: Path) -> str:
    """A smaller copy of the picture as a data URI."""
    with Image.open(path) as picture:
        height = round(picture.height * THUMBNAIL_WIDTH / picture.width)
        small = picture.convert("RGB").resize((THUMBNAIL_WIDTH, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def readme(page: Page, judgements: Sequence[Judgement], entries: Sequence[Entry], placebos: str) -> str:
    plan = page.plan
    lines = [
        "# Reports",
        "",
        "Made by `make repro` from the runs of this repository; `index.html` is the same with costs and assumptions, and",
        "[results.csv](results.csv) holds every number.",
        "",
        f"Scale `{plan.scale}`, seeds {', '.join(map(str, plan.seeds))}. {page.steps_text()}",
        *(f"Note: {note}." for note in plan.notes),
        "",
        f"## Claims: {counts(judgements)}",
        "",
        "| verdict | claim of the paper | where | holds in | scale |",
        "|---|---|---|---|---|",
        *(markdown_row(judgement) for judgement in judgements),
        "",
        html.rules_text(page.claims.rules),
        "",
        f"[Each claim on runs that are not its own](placebos.html): {placebos}.",
        "",
        "| claims that nothing here could tell | where | they need |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in not_built(page)),
    ]
    for entry in entries:
        lines += ["", f"## {entry.title}", "", f"![{entry.title}](figures/{entry.name}.png)"]
        lines += ["", f"Page: [{entry.name}.html]({entry.name}.html)"]
    return "\n".join(lines) + "\n"


def markdown_row(judgement: Judgement) -> str:
    claim = judgement.claim
    return f"| **{judgement.verdict}** | {claim.statement} | {claim.paper} | {html.counted(judgement)} | {judgement.scale} |"
