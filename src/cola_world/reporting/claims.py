"""The claims of data/paper/claims.yaml and the rules of their verdicts."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from cola_world.reporting.measured_predicates import Lead, Slopes, Tally
from cola_world.reporting.predicates import Compare, Kind, Strict, Trend

CLAIMS = Path("data/paper/claims.yaml")
Share = Annotated[float, Field(ge=0, le=1)]


class Rules(Strict):
    """What makes a verdict. Shares are of the seeds that count."""

    minimum_seeds: int = Field(ge=1)
    reproduced_at: Share
    contradicted_at: Share
    search_seeds: list[int]
    without_verdict: list[str] = []
    without_stand_ins: list[str] = []

    @model_validator(mode="after")
    def ordered(self) -> "Rules":
        if self.contradicted_at >= self.reproduced_at:
            raise ValueError(f"contradicted_at: {self.contradicted_at} must be below reproduced_at, {self.reproduced_at}")
        return self


class Predicate(Strict):
    compare: Compare | None = None
    trend: Trend | None = None
    tally: Tally | None = None
    slopes: Slopes | None = None
    lead: Lead | None = None

    @model_validator(mode="after")
    def one(self) -> "Predicate":
        if len(self.stated()) != 1:
            raise ValueError("predicate: exactly one of compare, trend, tally, slopes and lead is needed")
        return self

    def stated(self) -> list[Kind]:
        return [kind for kind in (self.compare, self.trend, self.tally, self.slopes, self.lead) if kind is not None]

    @property
    def kind(self) -> Kind:
        return self.stated()[0]

    def label(self) -> str:
        return self.kind.label()


class Claim(Strict):
    """A claim in our words, its place in the paper, the page that shows it, and the origin of its thresholds.

    `uses`: the runs whose latent actions must be used before there is a verdict. `placebos`: what it must not hold of.
    One is a run, or a snapshot `run@step`, that takes the place of the predicate's first; or a map from runs or
    snapshots to what takes their places; or `swapped` (the first and the last of snapshots), `reversed` or `flat`
    (of a trend).
    """

    id: str
    page: str
    statement: str
    paper: str
    thresholds: str
    uses: list[str] = []
    placebos: list[str | dict[str, str]] = []
    predicate: Predicate

    def runs(self) -> set[str]:
        """Return the runs that it is about, or patterns of them."""
        return {*self.uses, *self.predicate.kind.involved()}


class NotBuilt(Strict):
    """A claim of the paper that nothing here could tell, and what it needs."""

    statement: str
    paper: str
    needs: str


class Claims(Strict):
    rules: Rules
    claims: list[Claim]
    not_built: list[NotBuilt] = []

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
