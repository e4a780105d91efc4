"""The vocabulary of data/paper/claims.yaml: claims of the paper as predicates over result rows."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cola_world.reporting.metrics import METRICS

CLAIMS = Path("data/paper/claims.yaml")
At = Literal["start", "end", "minimum", "maximum", "peak_position"]
Operator = Literal[">=", "<=", ">", "<"]
Share = Annotated[float, Field(ge=0, le=1)]
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


class Rules(Strict):
    """What makes a verdict. Shares are of the seeds that count."""

    minimum_seeds: int = Field(ge=1)
    reproduced_at: Share
    contradicted_at: Share
    search_seeds: list[int]
    without_verdict: list[str] = []

    @model_validator(mode="after")
    def ordered(self) -> "Rules":
        if self.contradicted_at >= self.reproduced_at:
            raise ValueError(f"contradicted_at: {self.contradicted_at} must be below reproduced_at, {self.reproduced_at}")
        return self


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


class Compare(Strict):
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


class Trend(Strict):
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


class Tally(Strict):
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

    def label(self) -> str:
        return (self.compare or self.trend or self.tally).label()


class Claim(Strict):
    """A claim in our words, its place in the paper, the page that shows it, and the origin of its thresholds."""

    id: str
    page: str
    statement: str
    paper: str
    thresholds: str
    predicate: Predicate


class Claims(Strict):
    rules: Rules
    claims: list[Claim]

    @model_validator(mode="after")
    def unique(self) -> "Claims":
        names = [claim.id for claim in self.claims]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"claims: the id {name!r} is there twice; each must be its own")
        return self


def read_claims(root: Path) -> Claims:
    """Read the claims. Raises ValueError with one line: file, key and value of anything outside the vocabulary."""
    try:
        return Claims.model_validate(yaml.safe_load((root / CLAIMS).read_text()))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{CLAIMS}: {where}: {fault['msg']} (found {fault['input']!r})") from None
