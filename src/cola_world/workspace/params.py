"""params.yaml: the dials that a person turns, and the table of runs.

Budgets are in the paper's optimiser steps at every scale.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from cola_world.data.corpora import CorpusConfig
from cola_world.models.config import Config
from cola_world.workspace.faults import nearest

Scale = Literal["smoke", "cpu", "gpu", "paper"]
PaperSteps = Annotated[int, Field(ge=1)]
PAPER_DEPTH = 28  # pairs of a spatial and a temporal block (B.2)


class Changes(Config):
    """Settings in which a run departs from its profile, spelt as there. `changed` checks the keys."""

    system: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Run(Config):
    """A row of the runs table. `parents` are runs or run@step that it takes parts from; a later one wins.

    A run does not inherit `changes`: a child repeats those that shape the parts of its parents. Only a world model of
    fewer blocks than its parents' takes the first blocks of theirs.
    """

    phase: Literal["pretrain", "lam", "fdm", "wm", "warmup", "e2e", "finetune"]
    parents: list[str] = []
    steps: PaperSteps
    snapshots: list[PaperSteps] = []
    seeds: int | str | None = Field(None, description="how many of the seeds, the first ones, or the dial that says it; else all")
    depth: int | None = Field(None, ge=1, le=PAPER_DEPTH, description="of the world model, in the paper's 28 pairs of blocks")
    batch_size: int | None = Field(None, ge=1, description="in the paper's 128 clips")
    changes: Changes = Changes()

    @model_validator(mode="after")
    def snapshots_within_budget(self) -> Run:
        for snapshot in self.snapshots:
            if snapshot > self.steps:
                raise ValueError(f"snapshots: {snapshot} is past the budget; the latest possible one is {self.steps}")
        return self

    @model_validator(mode="after")
    def seeds_are_counted(self) -> Run:
        if self.seeds not in (None, "heavy_seeds") and not (isinstance(self.seeds, int) and self.seeds >= 1):
            raise ValueError(f"seeds: {self.seeds!r} is neither a number from 1 on nor the dial 'heavy_seeds'")
        return self

    @model_validator(mode="after")
    def changes_apply(self) -> Run:
        if self.phase == "pretrain" and self.changes.training:
            raise ValueError(f"changes.training: {self.changes.training} has no effect here; change the profile's pretraining instead")
        if self.phase == "pretrain" and self.batch_size:
            raise ValueError(f"batch_size: {self.batch_size} has no effect here; change the profile's pretraining instead")
        return self


class Params(Config):
    """params.yaml: the dials that a person turns."""

    scale: Scale
    warmup_steps: PaperSteps
    warmup_sweep: list[PaperSteps]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    heavy_seeds: int = Field(ge=1, description="how many of the seeds, the first ones, rows of `runs` have that say `seeds: heavy_seeds`")
    corpora: dict[str, CorpusConfig]
    mixture: dict[str, Annotated[float, Field(ge=0)]]
    runs: dict[str, Run]
    guidance: float = Field(4.0, ge=0, description="of evaluation; 1 is the conditional model alone")
    evaluate: dict[str, list[PaperSteps]] = Field(min_length=1, description="snapshots whose video prediction is measured, by run")
    probes: list[str] = Field([], description="runs whose latent actions are probed, at every snapshot")

    def seeds_of(self, row: Run) -> list[int]:
        return self.seeds[: self.heavy_seeds if row.seeds == "heavy_seeds" else row.seeds]

    @model_validator(mode="after")
    def forks_exist(self) -> Params:
        budget = self.runs["warmup"].steps
        for steps in self.warmup_sweep:
            if steps > budget:
                raise ValueError(f"warmup_sweep: {steps} is past the warm-up's budget; the latest possible one is {budget}")
        for field in ("warmup_sweep", "seeds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: {values} names one twice; right would be {sorted(set(values))}")
        return self

    @model_validator(mode="after")
    def parents_exist(self) -> Params:
        for name, run in self.runs.items():
            for parent in run.parents:
                check_parent(name, parent, self)
        return self

    @model_validator(mode="after")
    def groups_exist(self) -> Params:
        roles = get_args(CorpusConfig.model_fields["group"].annotation)
        for group in self.mixture:
            if group not in roles:
                raise ValueError(f"mixture: {group!r} is no group of corpora; nearest is {nearest(group, roles)!r}")
        if not sum(self.mixture.values()) > 0:
            raise ValueError("mixture: all weights are 0; at least one must be positive")
        return self


def check_parent(name: str, parent: str, params: Params) -> None:
    runs = params.runs
    run, _, step = parent.partition("@")
    if run not in runs:
        raise ValueError(f"runs.{name}.parents: {run!r} is no run; nearest is {nearest(run, list(runs))!r}")
    seeds = len(params.seeds_of(runs[run]))
    if seeds < len(params.seeds_of(runs[name])) and runs[run].phase != "pretrain":
        raise ValueError(f"runs.{name}.parents: {run!r} has {seeds} of the seeds; runs.{name}.seeds can be no more")
    if step in ("", "warmup_steps"):
        return
    known = [str(s) for s in (*runs[run].snapshots, runs[run].steps)]
    if step not in known:
        raise ValueError(f"runs.{name}.parents: {parent!r} is no snapshot of {run}; it has {', '.join(known)}")
