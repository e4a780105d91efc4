"""Judge a claim on placebo runs: other runs in the place of its own, of which it must not hold.

not in paper: because a predicate that holds of any run says nothing of the one that it names.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain

import pandas as pd

from cola_world.reporting.claims import Claim, Claims, Rules
from cola_world.reporting.curves import family
from cola_world.reporting.measured_predicates import Lead, Tally
from cola_world.reporting.predicates import Compare, Trend
from cola_world.reporting.requirements import WITHOUT_ACTIONS
from cola_world.reporting.verdicts import Judgement, counted, judge

UNUSED = "actions x 0"
GAPS = r"(shuffle|pixel|zero)_gap(_low|_high)?"


@dataclass(frozen=True)
class Trial:
    """What a claim comes to on one placebo."""

    label: str
    judgement: Judgement

    @property
    def outcome(self) -> str:
        return self.judgement.outcome


@dataclass(frozen=True)
class Tried:
    """What a claim comes to on its own runs, and on its placebos."""

    own: Judgement
    placebos: list[Trial]

    @property
    def unintended(self) -> list[Trial]:
        return [trial for trial in self.placebos if trial.outcome == "holds"]


def try_all(claims: Claims, rows: pd.DataFrame, scale: str) -> list[Tried]:
    """Judge every claim, and try it on its placebos. Rows of other scales do not count."""
    kept = counted(rows, claims.rules, scale)
    return [tried(claim, claims.rules, kept, scale) for claim in claims.claims]


def tried(claim: Claim, rules: Rules, rows: pd.DataFrame, scale: str) -> Tried:
    """Judge a claim. One that holds of a placebo too is not reproduced, as its test does not tell the runs apart."""
    rows = concerned(claim, rows)
    found = Tried(judge(claim, rules, rows, scale), trials(claim, rules, rows, scale))
    if found.own.verdict != "reproduced" or not found.unintended:
        return found
    names = ", ".join(trial.label for trial in found.unintended)
    reason = f"{found.own.reason.removesuffix('.')}, but of a placebo too ({names}): the test does not tell them apart."
    return Tried(replace(found.own, verdict="inconclusive", reason=reason), found.placebos)


def concerned(claim: Claim, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the runs that the claim, its requirements and its placebos are about."""
    sources = chain.from_iterable([placebo] if isinstance(placebo, str) else placebo.values() for placebo in claim.placebos)
    patterns = {WITHOUT_ACTIONS, *claim.runs(), *(source.partition("@")[0] for source in sources)}
    return rows[rows["run"].isin([run for run in rows["run"].unique() if any(fnmatchcase(run, pattern) for pattern in patterns)])]


def trials(claim: Claim, rules: Rules, rows: pd.DataFrame, scale: str) -> list[Trial]:
    """Judge the claim on each placebo that it names, and on its own runs with their actions multiplied by 0."""
    changed = {label(placebo): in_place(rows, places(claim, placebo, rows)) for placebo in claim.placebos}
    changed[UNUSED] = without_actions(rows, claim.uses)
    return [Trial(name, judge(claim, rules, each, scale)) for name, each in changed.items()]


def label(placebo: str | dict[str, str]) -> str:
    """`lam`, or `wm_lam8k@52000 for e2e_long@60000`."""
    return placebo if isinstance(placebo, str) else ", ".join(f"{source} for {target}" for target, source in placebo.items())


def places(claim: Claim, placebo: str | dict[str, str], rows: pd.DataFrame) -> dict[str, str]:
    """Map each run, or snapshot `run@step` of one, to what takes its place."""
    if isinstance(placebo, dict):
        return placebo
    kind = claim.predicate.kind
    match kind, placebo:
        case Trend(), _:
            runs = list(family(kind.runs, rows).values())
            return dict(zip(runs, runs[::-1] if placebo == "reversed" else runs[:1] * len(runs), strict=True))
        case ((Tally() | Lead()), "swapped"):
            first, last = str(kind.moments()[0]), str(kind.moments()[-1])
            return {first: last, last: first}
        case Compare(), _:
            return {kind.run: placebo}
        case _:
            return {str(kind.moments()[0]): placebo}


def in_place(rows: pd.DataFrame, places: dict[str, str]) -> pd.DataFrame:
    """Return the rows with others in the place of those of some runs or snapshots, under their names and at their steps.

    A whole run begins where the one that it stands for begins, and is cut where that one ends.
    """
    kept = rows[~pd.concat([of(rows, target) for target in places], axis=1).any(axis=1)] if places else rows
    return pd.concat([kept, *(renamed(rows, target, source) for target, source in places.items())], ignore_index=True)


def of(rows: pd.DataFrame, name: str) -> pd.Series:
    """Tell which rows are those of a run, or of its snapshot `run@step`."""
    run, _, step = name.partition("@")
    return (rows["run"] == run) & (rows["snapshot"] == int(step) if step else True)


def renamed(rows: pd.DataFrame, target: str, source: str) -> pd.DataFrame:
    run, _, step = target.partition("@")
    taken, replaced = rows[of(rows, source)], rows.loc[of(rows, target), "snapshot"]
    if step:
        return taken.assign(run=run, snapshot=int(step))
    if taken.empty or replaced.empty:
        return taken.assign(run=run)
    moved = taken.assign(run=run, snapshot=taken["snapshot"] - taken["snapshot"].min() + replaced.min())
    return moved[moved["snapshot"] <= replaced.max()]


def without_actions(rows: pd.DataFrame, runs: list[str]) -> pd.DataFrame:
    """Return the rows as if the actions of some runs were multiplied by 0: whichever clip's are taken, the loss is one."""
    gaps = rows["run"].isin(runs) & rows["metric"].str.fullmatch(GAPS)
    return rows.assign(value=rows["value"].where(~gaps, 0.0))
