"""Judge claims on result rows: reproduced, contradicted, inconclusive, not measurable or not run, with the numbers of
every seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from cola_world.reporting.claims import Claim, Rules
from cola_world.reporting.comparisons import lead, slopes, tally
from cola_world.reporting.curves import TREND_POINTS, compare, trend
from cola_world.reporting.evidence import Evidence, SeedOutcome
from cola_world.reporting.measured_predicates import Lead, Slopes, Tally
from cola_world.reporting.predicates import Compare, Kind, Trend
from cola_world.reporting.requirements import unmet

Verdict = Literal["reproduced", "contradicted", "inconclusive", "not measurable", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
EVIDENCE: dict[type[Kind], Callable[[Any, pd.DataFrame], Evidence]] = {
    Compare: compare,
    Trend: trend,
    Tally: tally,
    Slopes: slopes,
    Lead: lead,
}


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim. `share` of `seeds` is where it holds, None where nothing can be counted. `reason` is one
    sentence. `holds`: in enough of the seeds, however many there are.
    """

    claim: Claim
    verdict: Verdict
    scale: str
    share: float | None
    reason: str
    columns: tuple[str, ...] = ()
    outcomes: tuple[SeedOutcome, ...] = ()
    holds: bool = False

    @property
    def seeds(self) -> int:
        return len(self.outcomes)

    @property
    def outcome(self) -> str:
        """`holds`, `fails`, `not measurable` or `not run`."""
        if self.share is None:
            return self.verdict
        return "holds" if self.holds else "fails"


def counted(rows: pd.DataFrame, rules: Rules, scale: str) -> pd.DataFrame:
    """Return the rows that count for a verdict: those of the scale, without the seeds of the search, nor what stands in
    for a public metric where that itself is to be had.

    What the FDM of a run predicts is a run beside it: `video/psnr_fdm` of `wm` becomes `video/psnr` of `wm/fdm`.
    """
    kept = rows[(rows["scale"] == scale) & ~rows["seed"].isin(rules.search_seeds)]
    if scale in rules.without_stand_ins:
        kept = kept[~kept["metric"].str.contains("_sim(?:_|$)")]
    fdm = kept["metric"].str.fullmatch("video/.*_fdm")
    beside = kept[fdm]
    beside = beside.assign(run=beside["run"] + "/fdm", metric=beside["metric"].str.removesuffix("_fdm"))
    return pd.concat([kept[~fdm], beside], ignore_index=True)


def judge(claim: Claim, rules: Rules, rows: pd.DataFrame, scale: str) -> Judgement:
    kind = claim.predicate.kind
    evidence = EVIDENCE[type(kind)](kind, rows)
    if not evidence.outcomes:
        return Judgement(claim, "not run", scale, None, evidence.missing or "No seed has the numbers that this claim needs.")
    if reason := unmet(claim, rules, rows):
        return Judgement(claim, "not measurable", scale, None, reason)
    share = sum(outcome.holds for outcome in evidence.outcomes) / len(evidence.outcomes)
    verdict, reason = decide(share, evidence, rules, scale)
    holds = share >= rules.reproduced_at and (evidence.trend is None or evidence.trend[0] >= evidence.trend[1])
    return Judgement(claim, verdict, scale, share, reason, evidence.columns, evidence.outcomes, holds)


def decide(share: float, evidence: Evidence, rules: Rules, scale: str) -> tuple[Verdict, str]:
    total = len(evidence.outcomes)
    held = f"It holds in {round(share * total)} of {total} seed{'s' if total > 1 else ''}"
    if scale in rules.without_verdict:
        return "inconclusive", f"{held}, but runs at the scale {scale} only check that every stage works."
    if total < rules.minimum_seeds:
        return "inconclusive", f"{held}; a verdict needs at least {rules.minimum_seeds} seeds."
    if evidence.trend is not None:
        return decide_trend(share, held, *evidence.trend, rules)
    if share >= rules.reproduced_at:
        return "reproduced", f"{held}, at least {rules.reproduced_at:.0%}."
    if share <= rules.contradicted_at:
        return "contradicted", f"{held}, at most {rules.contradicted_at:.0%}."
    return "inconclusive", f"{held}, between {rules.contradicted_at:.0%} and {rules.reproduced_at:.0%}."


def decide_trend(share: float, held: str, correlation: float, least: float, rules: Rules) -> tuple[Verdict, str]:
    if correlation != correlation:
        return "inconclusive", f"A trend needs at least {TREND_POINTS} lengths. The longest above the shortest: {held.lower()}."
    asked = f"The rank correlation is {correlation:.2f}, the lower of the two ({least:g} is asked for)."
    reason = f"{asked} The longest above the shortest: {held.lower()}."
    if share >= rules.reproduced_at and correlation >= least:
        return "reproduced", reason
    if share <= rules.contradicted_at and correlation <= 0:
        return "contradicted", reason
    return "inconclusive", reason
