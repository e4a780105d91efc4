"""The vocabulary of data/paper/claims.yaml: predicates on what is measured at snapshots, data set by data set."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated

from pydantic import AfterValidator, Field

from cola_world.reporting.metrics import METRICS
from cola_world.reporting.predicates import Kind, Moment, Strict


def known(metric: str) -> str:
    if metric not in METRICS:
        raise ValueError(f"{metric!r} is none of {', '.join(METRICS)}")
    return metric


PaperMetric = Annotated[str, AfterValidator(known)]


class Measured(Kind):
    """A predicate over what is measured at snapshots: which metrics, on which data sets, and in what share of them."""

    corpora: list[str] = Field(min_length=1)
    metrics: list[PaperMetric] = Field(min_length=1)
    share: float = Field(1.0, gt=0, le=1)

    def where(self) -> str:
        return f"{', '.join(self.metrics)} on {', '.join(self.corpora)}"


class Tally(Measured):
    """In how many comparisons - every data set, metric and rival - one snapshot is better.

    `margin`: how much worse, as a share of the rival's value, still counts. Holds in a seed if at least `share` of
    the comparisons do. `ordered`: each rival must also be better than the next one.
    """

    better: Moment
    than: list[Moment] = Field(min_length=1)
    margin: float = Field(0.0, ge=0, lt=1)
    ordered: bool = False

    def moments(self) -> Sequence[Moment]:
        return self.better, *self.than

    def read(self) -> Sequence[Moment]:
        return self.moments() if "probe/l1" in self.metrics else ()

    def pairs(self) -> list[tuple[int, int]]:
        """Return which of the moments must be better than which."""
        count = len(self.moments())
        return [(i - 1, i) for i in range(1, count)] if self.ordered else [(0, i) for i in range(1, count)]

    def label(self) -> str:
        count = "all" if self.share == 1 else f"at least {self.share:.0%}"
        allowed = f", {self.margin:.0%} worse allowed" if self.margin else ""
        joint = " is better than " if self.ordered else ", "
        rivals = joint.join(moment.label() for moment in self.than)
        return f"{self.better.label()} is better than {rivals} in {count} of {self.where()}{allowed}"


class Gain(Strict):
    """By how much a metric gets better from one snapshot to another."""

    since: Moment
    until: Moment

    def label(self) -> str:
        return f"{self.since.label()} to {self.until.label()}"


class Faster(Strict):
    """One gain is above zero and above `factor` x another."""

    gain: Gain
    than: Gain
    factor: float = Field(gt=0)

    def label(self) -> str:
        return f"{self.gain.label()} gains more than {self.factor:g} × {self.than.label()}"


class Slopes(Measured):
    """Holds in a seed if at least `share` of the comparisons of gains do, over every metric and data set."""

    all_of: list[Faster] = Field(min_length=1)

    def moments(self) -> Sequence[Moment]:
        gains = chain.from_iterable((faster.gain, faster.than) for faster in self.all_of)
        return list(dict.fromkeys(chain.from_iterable((gain.since, gain.until) for gain in gains)))

    def read(self) -> Sequence[Moment]:
        return [faster.gain.until for faster in self.all_of] if "probe/l1" in self.metrics else ()

    def label(self) -> str:
        return f"{' and '.join(faster.label() for faster in self.all_of)} in {self.where()}"


class Lead(Measured):
    """Holds in a seed if the lead over a rival, as a share of the rival's value, is above zero and largest in one metric."""

    better: Moment
    than: Moment
    largest: PaperMetric

    def moments(self) -> Sequence[Moment]:
        return self.better, self.than

    def label(self) -> str:
        return f"{self.better.label()} leads {self.than.label()} most in {self.largest}, of {self.where()}"
