"""What the rows must show before a claim about latent actions is judged: that the actions are used, and can be read.

not in paper: because a world model that ignores its actions says nothing about them, whichever way its numbers fall.
"""

from collections.abc import Iterator

import pandas as pd

from cola_world.reporting.claims import Claim, Rules
from cola_world.reporting.measured_predicates import Measured
from cola_world.reporting.predicates import Moment
from cola_world.reporting.tables import over_seeds

WITHOUT_ACTIONS = "fdm_without_actions"
PROBE = "probe/l1"


def unmet(claim: Claim, rules: Rules, rows: pd.DataFrame) -> str:
    """Return in one sentence the first requirement that the rows do not meet, or nothing if they meet all."""
    return next((reason for reason in reasons(claim, rules, rows) if reason), "")


def reasons(claim: Claim, rules: Rules, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with each requirement, nothing for one that is met. A share of the seeds is enough."""
    kind = claim.predicate.kind
    for run in claim.uses:
        yield unused(run, kind.until(run), rows, rules.reproduced_at)
    if isinstance(kind, Measured):
        for moment in kind.read():
            yield unread(moment, kind, rows, rules.reproduced_at)


def unused(run: str, until: float, rows: pd.DataFrame, share: float) -> str:
    """Say that the gap of the run, at its last measurement up to the snapshot `until`, has an interval with 0 in it.

    The gap is by how much a loss rises with another clip's actions: the world model's, or the FDM's if the run trains
    that. An FDM must also beat the arm without actions.
    """
    own = rows[(rows["run"] == run) & (rows["snapshot"] <= until)]
    name = "pixel_gap" if "pixel_mse" in set(own["metric"]) else "shuffle_gap"
    lows, highs = (last(own, f"{name}_{end}") for end in ("low", "high"))
    if lows.empty:
        return f"No interval in the rows: {name}_low of {run} would tell whether its actions are used."
    dead = lows <= 0
    if 1 - dead.mean() < share:
        seed = dead.idxmax()
        told = f"{dead.sum()} of {len(dead)} seeds, from {lows[seed]:.2g} to {highs[seed]:.2g} in seed {seed}"
        return f"The actions of {run} are not used: the interval of its {name} includes 0 in {told}."
    return no_better(run, until, rows) if name == "pixel_gap" else ""


def no_better(run: str, until: float, rows: pd.DataFrame) -> str:
    """Say that the pixel error is not below that of the FDM trained without actions, over the seeds that both have."""
    own, other = (last(rows[(rows["run"] == name) & (rows["snapshot"] <= until)], "pixel_mse") for name in (run, WITHOUT_ACTIONS))
    less = (other - own).dropna()
    if less.empty:
        return f"There are no rows of {WITHOUT_ACTIONS}, the arm without actions that {run} must beat."
    found = over_seeds({int(seed): float(value) for seed, value in less.items()})
    if found.low > 0:
        return ""
    return f"The actions of {run} save no pixel error: {found.mean:.2g} against {WITHOUT_ACTIONS}, {found.low:.2g} to {found.high:.2g}."


def last(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Return the last value of the metric by seed."""
    return rows[rows["metric"] == metric].sort_values("snapshot").groupby("seed")["value"].last()


def unread(moment: Moment, kind: Measured, rows: pd.DataFrame, share: float) -> str:
    """Say that a probe of these actions is no better than the median action, its interval considered, on too many of the
    data sets.
    """
    own = rows[(rows["run"] == moment.run) & (rows["snapshot"] == moment.at)]
    found = [last(own[own["corpus"] == corpus], f"{PROBE}_high") for corpus in kind.corpora]
    medians = [last(own[own["corpus"] == corpus], f"{PROBE}_median") for corpus in kind.corpora]
    if any(highs.empty for highs in found):
        return f"No interval in the rows: {PROBE}_high of {moment.label()} would tell whether its actions can be read."
    read = sum((highs < median).mean() >= share for highs, median in zip(found, medians, strict=True))
    if read >= kind.share * len(found):
        return ""
    return f"The actions of {moment.label()} are read no better than by the median action on {len(found) - read} of {len(found)} data sets."
