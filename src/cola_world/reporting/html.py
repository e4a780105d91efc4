"""Small pieces of HTML: a value that a notebook shows as HTML, escaped text, tables, pills."""

from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from cola_world.reporting.claims import Rules
from cola_world.reporting.verdicts import Judgement


class HTML(str):
    """Markup that a notebook's cell shows as it is."""

    def _repr_html_(self) -> str:
        return str(self)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> HTML:
    """Cells are text, unless they are `HTML` already."""
    body = "\n".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    columns = "".join(f"<th>{escape(name)}</th>" for name in head)
    return HTML(f'<div class="wide"><table class="{kind}">\n<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>')


def cell(value: str) -> str:
    return f"<td>{text(value)}</td>"


def text(value: str) -> str:
    return value if isinstance(value, HTML) else escape(str(value))


def section(title: str, *parts: str) -> HTML:
    return HTML(f"<h2>{escape(title)}</h2>\n" + "\n".join(parts))


def paragraph(value: str, kind: str = "") -> HTML:
    return HTML(f'<p class="{kind}">{text(value)}</p>')


def pill(verdict: str) -> HTML:
    return HTML(f'<span class="pill {verdict.replace(" ", "-")}">{escape(verdict)}</span>')


def extent(values: pd.Series) -> str:
    """Mean and range over seeds: `0.52 [0.48, 0.55]`."""
    if values.empty:
        return "–"
    if len(values) == 1:
        return number(values.iloc[0])
    return f"{number(values.mean())} [{number(values.min())}, {number(values.max())}]"


def number(value: float) -> str:
    """Three decimals, or three digits for values too small for them."""
    return f"{value:.3f}" if abs(value) >= 0.05 or value == 0 else f"{value:.3g}"


def rules_text(rules: Rules) -> str:
    seeds = ", ".join(map(str, rules.search_seeds))
    return (
        f"A claim is reproduced when it holds in at least {rules.reproduced_at:.0%} of the seeds, contradicted when it holds in at "
        f"most {rules.contradicted_at:.0%} of them, and inconclusive in between or with fewer than {rules.minimum_seeds} seeds; it is "
        f"not run when rows that it needs are missing. A trend must also reach its rank correlation to be reproduced, and be flat or "
        f"falling to be contradicted. Choices were searched on seed {seeds} only, which never counts. The scale "
        f"{', '.join(rules.without_verdict) or 'none'} gives no verdict."
    )


def claim_card(judgement: Judgement) -> HTML:
    """A claim with its verdict and the numbers of every seed."""
    claim = judgement.claim
    rows = [
        [f"seed {outcome.seed}", *outcome.numbers, HTML(f'<b class="{mark(outcome.holds)}">{mark(outcome.holds)}</b>')]
        for outcome in judgement.outcomes
    ]
    evidence = table(["", *judgement.columns, "claim holds"], rows, "evidence") if rows else ""
    return HTML(
        f'<div class="claim" id="{escape(claim.id)}">\n'
        f"<h3>{pill(judgement.verdict)} {escape(claim.statement)}</h3>\n"
        f'<p class="where">Paper: {escape(claim.paper)}. Scale {escape(judgement.scale)}, {counted(judgement)}.</p>\n'
        f"<p>{escape(judgement.reason)}</p>\n{evidence}\n"
        f'<p class="where">Test: <code>{escape(claim.predicate.label())}</code>. {escape(claim.thresholds)}</p>\n</div>'
    )


def mark(holds: bool) -> str:
    return "yes" if holds else "no"


def counted(judgement: Judgement) -> str:
    """`4 of 4 seeds`: in how many the claim holds."""
    if judgement.share is None:
        return "no seeds"
    return f"{round(judgement.share * judgement.seeds)} of {judgement.seeds} seed{'s' if judgement.seeds > 1 else ''}"
