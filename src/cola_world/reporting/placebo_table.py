"""Show claims beside their placebos: of its own runs a claim may hold, of these it must not."""

from collections.abc import Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cola_world.reporting import html
from cola_world.reporting.html import HTML
from cola_world.reporting.placebo import Tried
from cola_world.reporting.predicates import Compare
from cola_world.reporting.render import TEMPLATES
from cola_world.reporting.verdicts import Judgement


def page(found: Sequence[Tried], badge: HTML) -> str:
    """Return the page of all claims and placebos."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("placebos.html.j2").render(
        style=HTML((TEMPLATES / "style.css").read_text()),
        badge=badge,
        count=count(found),
        runs=run_table([tried for tried in found if on_runs(tried.own)]),
        snapshots=snapshot_table([tried for tried in found if not on_runs(tried.own)]),
    )


def count(found: Sequence[Tried]) -> str:
    """`0 of 60 placebos hold; 41 fail, 19 are not measurable, 0 are not run`"""
    outcomes = [trial.outcome for tried in found for trial in tried.placebos]
    holds, fails, dead, missing = (outcomes.count(each) for each in ("holds", "fails", "not measurable", "not run"))
    return f"{holds} of {len(outcomes)} placebos hold; {fails} fail, {dead} are not measurable, {missing} are not run"


def on_runs(judgement: Judgement) -> bool:
    return isinstance(judgement.claim.predicate.kind, Compare)


def run_table(found: Sequence[Tried]) -> HTML:
    """Make a matrix of the claims on a run and the runs that take its place."""
    columns = list(dict.fromkeys(trial.label for tried in found for trial in tried.placebos))
    rows = []
    for tried in found:
        by_label = {trial.label: cell(trial.judgement, "unintended") for trial in tried.placebos}
        run = tried.own.claim.predicate.kind.label().partition(":")[0]
        rows.append([link(tried), HTML(f"{html.text(run)}<br>{cell(tried.own)}"), *(by_label.get(label, "") for label in columns)])
    return html.table(["claim", "its own run", *columns], rows, "verdicts placebos")


def snapshot_table(found: Sequence[Tried]) -> HTML:
    """Make a list of the claims on several runs or snapshots, one row for each placebo."""
    rows = []
    for tried in found:
        for number, trial in enumerate(tried.placebos):
            first = [link(tried), cell(tried.own)] if number == 0 else ["", ""]
            rows.append([*first, cell(trial.judgement, "unintended"), trial.label])
    return html.table(["claim", "its own runs", "comes to", "with the placebo"], rows, "verdicts placebos")


def placebo_text(tried: Tried) -> HTML:
    """Return one line on the placebos of a claim."""
    parts = (f"{html.text(trial.label)} {cell(trial.judgement, 'unintended')}" for trial in tried.placebos)
    return HTML("; ".join(parts).replace("<br>", " "))


def link(tried: Tried) -> HTML:
    claim = tried.own.claim
    return HTML(f'<a href="{claim.page}.html#{claim.id}">{html.text(claim.statement)}</a>')


def cell(judgement: Judgement, kind: str = "intended") -> HTML:
    """Show what came of it, with its seeds."""
    seeds = "" if judgement.share is None else f"<br><small>{html.counted(judgement)}</small>"
    state = f"holds {kind}" if judgement.outcome == "holds" else judgement.outcome.replace(" ", "-")
    return HTML(f'<span class="trial {state}">{judgement.outcome}</span>{seeds}')
