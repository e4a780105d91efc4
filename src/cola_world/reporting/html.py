"""Small pieces of HTML: a value that a notebook shows as HTML, escaped text, tables, pills."""

from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from cola_world.reporting.claims import Rules
from cola_world.reporting.verdicts import Judgement


class HTML(str):
    """Markup that notebook cells and templates show unescaped."""

    def _repr_html_(self) -> str:
        return str(self)

    __html__ = _repr_html_


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> HTML:
    """Make a table. Cells are text unless they are `HTML`."""
    body = "\n".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    columns = "".join(f"<th>{escape(name)}</th>" for name in head)
    top = f"<thead><tr>{columns}</tr></thead>\n" if head else ""
    return HTML(f'<div class="wide"><table class="{kind}">\n{top}<tbody>\n{body}\n</tbody></table></div>')


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


def extent(values: pd.Series, decimals: int) -> HTML:
    """Show the mean over seeds and, if there are several, the lowest and the highest below it."""
    if values.empty:
        return HTML("–")
    mean, low, high = (f"{value:.{decimals}f}" for value in (values.mean(), values.min(), values.max()))
    return HTML(mean if len(values) == 1 else f"{mean}<br><small>{low} to {high}</small>")


def rules_text(rules: Rules) -> str:
    seeds = ", ".join(map(str, rules.search_seeds))
    return (
        f"A claim is reproduced when it holds in at least {rules.reproduced_at:.0%} of the seeds, contradicted when it holds "
        f"in at most {rules.contradicted_at:.0%} of them, and inconclusive in between or with fewer than {rules.minimum_seeds} "
        "seeds; it is not run when rows that it needs are missing. It is not measurable where the latent actions that it is about are "
        "not used: the gap to another clip's actions has an interval that includes 0 (in more than a quarter of the seeds), a latent "
        "action model saves no pixel error against the arm without actions, or a probe reads no more than the median. "
        f"A trend must also reach its rank correlation to be reproduced, and be flat or falling to be contradicted. "
        f"Choices were searched on seed {seeds} only, which never counts. "
        f"The scale {', '.join(rules.without_verdict) or 'none'} is always inconclusive: it only checks that every stage works. "
        f"At the scale {', '.join(rules.without_stand_ins) or 'none'} no stand-in (FVD-sim, LPIPS-sim) judges a claim of the public metric."
    )


def claim_card(judgement: Judgement, placebos: str) -> HTML:
    """Show a claim with its verdict, the numbers of every seed, and what comes of its placebos."""
    claim = judgement.claim
    rows = [
        [f"seed\u00a0{outcome.seed}", *outcome.numbers, HTML(f'<b class="{mark(outcome.holds)}">{mark(outcome.holds)}</b>')]
        for outcome in judgement.outcomes
    ]
    evidence = table(["", *judgement.columns, "claim holds"], rows, "evidence") if rows else ""
    return HTML(
        f'<div class="claim" id="{escape(claim.id)}">\n'
        f"<h3>{pill(judgement.verdict)} {escape(claim.statement)}</h3>\n"
        f'<p class="where">Paper: {escape(claim.paper)}. Scale {escape(judgement.scale)}, {counted(judgement)}.</p>\n'
        f"<p>{escape(judgement.reason)}</p>\n{evidence}\n"
        f'<p class="where">Test: <code>{escape(claim.predicate.label())}</code>. Limits: {escape(claim.thresholds)}</p>\n'
        f'<p class="where">Placebos: {placebos}</p>\n</div>'
    )


def mark(holds: bool) -> str:
    return "yes" if holds else "no"


def summary(judgements: Sequence[Judgement]) -> HTML:
    """Show one line per claim: the verdict and a link to its evidence."""
    rows = []
    for judgement in judgements:
        claim = judgement.claim
        link = HTML(f'<a href="#{escape(claim.id)}">{escape(claim.statement)}</a>')
        rows.append([pill(judgement.verdict), link, counted(judgement)])
    return table(["verdict", "claim of the paper", "holds in"], rows, "verdicts")


def counted(judgement: Judgement) -> str:
    """`4 of 4 seeds`: in how many seeds the claim holds."""
    if judgement.share is None:
        return "–"
    return f"{round(judgement.share * judgement.seeds)} of {judgement.seeds} seed{'s' if judgement.seeds > 1 else ''}"
