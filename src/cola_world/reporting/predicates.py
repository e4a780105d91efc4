"""The kinds of predicates over result rows that data/paper/claims.yaml is written in."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cola_world.reporting.metrics import METRICS

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
}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(Strict):
    """What all predicates answer, for the requirements of their claim."""

    def until(self, run: str) -> float:
        """Return the last snapshot at which the predicate looks at the run, in paper steps; infinite for its end."""
        return math.inf

    def read(self) -> list["Moment"]:
        """Return the snapshots whose latent actions are compared by how well they can be read."""
        return []


class Reference(Strict):
    """Another moment of the same run, or a moment of another run; same metric and seed."""

    run: str | None = None
    at: At

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
    """Holds in a seed if all conditions hold there or, with `negate`, if at least one does not."""

    run: str
    all_of: list[Condition] = Field(min_length=1)
    negate: bool = False

    def runs(self) -> list[str]:
        others = (c.relative_to.run for c in self.all_of if c.relative_to and c.relative_to.run)
        return list(dict.fromkeys([self.run, *others]))

    def label(self) -> str:
        joined = " and ".join(condition.label() for condition in self.all_of)
        return f"{self.run}: not ({joined})" if self.negate else f"{self.run}: {joined}"


class Trend(Kind):
    """The metric of the runs that match a pattern rises with the step at which they begin.

    Two tests: the rank correlation (Spearman) of beginning and mean over seeds reaches the minimum, and in each seed
    the run that begins last is above the one that begins first.
    """

    runs: list[str] = Field(min_length=1)
    metric: str
    at: At
    minimum_rank_correlation: float = Field(gt=0, le=1)

    def label(self) -> str:
        name = METRIC_LABELS.get(self.metric, self.metric)
        patterns = ", ".join(self.runs)
        return (
            f"{patterns}: rank correlation of warm-up length and mean {name} {AT_LABELS[self.at]} "
            f">= {self.minimum_rank_correlation:g}, and the longest above the shortest"
        )


class Moment(Strict):
    """A snapshot of a run, in paper steps from the start of its line."""

    run: str
    at: int

    def label(self) -> str:
        return f"{self.run} at {self.at}"


class Tally(Kind):
    """In how many comparisons - every data set, metric and rival - one snapshot is better.

    `margin`: how much worse, as a share of the rival's value, still counts. Holds in a seed if at least `share` of
    the comparisons do.
    """

    better: Moment
    than: list[Moment] = Field(min_length=1)
    corpora: list[str] = Field(min_length=1)
    metrics: list[str] = Field(min_length=1)
    margin: float = Field(0.0, ge=0, lt=1)
    share: float = Field(1.0, gt=0, le=1)

    @field_validator("metrics")
    @classmethod
    def known(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            if metric not in METRICS:
                raise ValueError(f"metrics: {metric!r} is none of {', '.join(METRICS)}")
        return metrics

    def until(self, run: str) -> float:
        return max((moment.at for moment in (self.better, *self.than) if moment.run == run), default=math.inf)

    def read(self) -> list[Moment]:
        return [self.better, *self.than] if "probe/l1" in self.metrics else []

    def label(self) -> str:
        count = "all" if self.share == 1 else f"at least {self.share:.0%}"
        allowed = f", {self.margin:.0%} worse allowed" if self.margin else ""
        metrics, rivals = (", ".join(names) for names in (self.metrics, [moment.label() for moment in self.than]))
        return f"{self.better.label()} is better than {rivals} in {count} of {metrics} on {', '.join(self.corpora)}{allowed}"


class Predicate(Strict):
    compare: Compare | None = None
    trend: Trend | None = None
    tally: Tally | None = None

    @model_validator(mode="after")
    def one(self) -> "Predicate":
        if sum(kind is not None for kind in (self.compare, self.trend, self.tally)) != 1:
            raise ValueError("predicate: exactly one of compare, trend and tally is needed")
        return self

    @property
    def kind(self) -> Kind:
        return self.compare or self.trend or self.tally

    def label(self) -> str:
        return self.kind.label()
