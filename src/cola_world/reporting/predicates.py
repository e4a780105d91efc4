"""The vocabulary of data/paper/claims.yaml: what all predicates have, and those on whole curves of training."""

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

At = Literal["start", "end", "minimum", "maximum", "peak_position"]
Operator = Literal[">=", "<=", ">", "<"]
METRIC_LABELS = {
    "codebook/utilization": "utilisation",
    "codebook/max_usage": "maximum usage",
    "codebook/entropy_normalized": "normalised entropy",
    "codebook/entropy": "entropy in nats",
    "shuffle_gap": "shuffle gap",
    "flow_loss": "flow loss",
}
AT_LABELS = {
    "start": "at the start",
    "end": "at the end",
    "minimum": "at its minimum",
    "maximum": "at its maximum",
    "peak_position": "peak, as a share of the run",
    "same_step": "at the same step",
}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Moment(Strict):
    """A snapshot of a run, in paper steps from the start of its line. Written `run@step`."""

    run: str
    at: int

    @model_validator(mode="before")
    @classmethod
    def parsed(cls, text: Any) -> Any:
        found = re.fullmatch(r"([^@]+)@(\d+)", text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"{text!r} is no moment; write run@step, such as e2e_long@60000")
        return {"run": found[1], "at": int(found[2])}

    def __str__(self) -> str:
        return f"{self.run}@{self.at}"

    def label(self) -> str:
        return f"{self.run} at {self.at}"


class Kind(Strict):
    """What all predicates answer, for the requirements and the placebos of their claim."""

    def moments(self) -> Sequence[Moment]:
        """Return the snapshots that the predicate looks at, if it looks at any rather than at whole curves."""
        return ()

    def involved(self) -> Sequence[str]:
        """Return the runs that the predicate looks at, or patterns of them."""
        return [moment.run for moment in self.moments()]

    def read(self) -> Sequence[Moment]:
        """Return the snapshots whose latent actions are compared by how well they can be read."""
        return ()

    def until(self, run: str) -> float:
        """Return the last snapshot at which the predicate looks at the run, in paper steps; infinite for its end."""
        return max((moment.at for moment in self.moments() if moment.run == run), default=math.inf)


class Reference(Strict):
    """Another moment of the same run, or a moment of another run; same metric and seed.

    `same_step`: the other run's last value up to the step of the end.
    """

    run: str | None = None
    at: At | Literal["same_step"]

    def label(self) -> str:
        moment = AT_LABELS[self.at].removeprefix("at ")
        return f"{moment} of {self.run}" if self.run else moment.replace("its ", "the ")


class Condition(Strict):
    """`<metric> <at> <op> <value>`; with `relative_to`, the value is a factor of the reference."""

    metric: str
    at: At
    op: Operator
    value: float
    relative_to: Reference | None = None

    def label(self) -> str:
        subject = f"{METRIC_LABELS.get(self.metric, self.metric)} {AT_LABELS[self.at]}"
        if self.relative_to is None:
            return f"{subject} {self.op} {self.value:g}"
        factor = "" if self.value == 1 else f"{self.value:g} × "
        return f"{subject} {self.op} {factor}{self.relative_to.label()}"


class Compare(Kind):
    """Holds in a seed if all conditions hold there."""

    run: str
    all_of: list[Condition] = Field(min_length=1)

    def involved(self) -> Sequence[str]:
        others = (c.relative_to.run for c in self.all_of if c.relative_to and c.relative_to.run)
        return list(dict.fromkeys([self.run, *others]))

    def label(self) -> str:
        return f"{self.run}: {' and '.join(condition.label() for condition in self.all_of)}"


class Trend(Kind):
    """The metric of the runs that match a pattern rises with the step at which they begin.

    Looked at twice: at the end of each run, and at equal totals, where the first of them to end does. Two tests each
    time: the rank correlation (Spearman) of beginning and mean over seeds reaches the minimum, and in each seed the
    run that begins last is above the one that begins first.
    """

    runs: list[str] = Field(min_length=1)
    metric: str
    minimum_rank_correlation: float = Field(gt=0, le=1)

    def involved(self) -> Sequence[str]:
        return self.runs

    def label(self) -> str:
        return (
            f"{', '.join(self.runs)}: rank correlation of warm-up length and mean {METRIC_LABELS.get(self.metric, self.metric)} >= "
            f"{self.minimum_rank_correlation:g}, and the longest above the shortest, both at the end and at equal totals"
        )
