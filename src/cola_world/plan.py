"""Resolves params.yaml and a profile into one small file for each step of the graph.

A step depends on its own file only, so that turning a dial reruns just what the dial changes.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from cola_world.config import Corpus, Params, Profile, Run, changed, nearest
from cola_world.data.clips import Mixture, mix
from cola_world.models.stdit3 import beyond_depth
from cola_world.models.system import System, SystemConfig
from cola_world.training.batches import BatchConfig
from cola_world.training.devices import DeviceConfig
from cola_world.training.loop import TrainingConfig
from cola_world.training.phases import PHASES
from cola_world.weights import PublicFile

# not in paper: because all of its runs start from one public OpenSora checkpoint, its stand-in has one seed as well.
SHARED_SEED = 0


class Parent(BaseModel):
    """A snapshot that a run starts from; `shared`: one for all seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str
    step: int
    shared: bool

    def path(self, root: Path, seed: int) -> Path:
        seed = SHARED_SEED if self.shared else seed
        return root / self.run / "snapshots" / str(self.step) / f"seed{seed}.safetensors"


class RunPlan(BaseModel):
    """Everything that a training run is made of but its seed. Steps are the paper's unless named `optimiser`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: str
    phase: str
    scale: str
    seeds: list[int]
    parents: list[Parent]
    start_step: int
    steps: int
    snapshots: list[int]
    log_every: int
    steps_per_paper_step: float
    workers: int
    batches: BatchConfig
    system: SystemConfig
    training: TrainingConfig
    devices: DeviceConfig = DeviceConfig()
    launch: str = "python"
    continued: bool = False  # whether runs of the table go on from its snapshots, in which these then carry optimiser moments

    def optimiser(self, paper_steps: int) -> int:
        """Paper steps to optimiser steps, at least one."""
        return max(1, round(paper_steps * self.steps_per_paper_step)) if paper_steps else 0

    def optimiser_steps(self) -> int:
        """Of the run itself, without those of its ancestors."""
        return self.optimiser(self.start_step + self.steps) - self.optimiser(self.start_step)

    def line(self, runs: Path, seed: int, steps: int) -> list[Path]:
        """Snapshots that hold the parts of the system after `steps` of this run, where a later one wins."""
        own = Parent(run=self.run, step=steps, shared=self.phase == "pretrain")
        return [snapshot.path(runs, seed) for snapshot in (*self.parents, own)]


def resolve(params: Params, profile: Profile, public: dict[str, PublicFile] | None = None) -> dict[str, dict[str, Any]]:
    """File stem below runs/plan -> content; `public` is the table of the weights that a profile may name."""
    files = data_plans(params, profile)
    files |= {name: plan.model_dump() for name, plan in run_plans(params, profile).items()}
    files["report"] = report_plan(params, profile)
    files["weights"] = weights_plan(profile, public or {})
    for name, row in files["weights"].items():
        if row["replaces"]:
            files[row["replaces"]]["weights"] = {name: row}
    return files


def weights_plan(profile: Profile, public: dict[str, PublicFile]) -> dict[str, dict[str, Any]]:
    """Rows of the table that the profile names, with what it brings itself; at most one takes the place of a step."""
    rows = {}
    for name, own in profile.weights.items():
        if name not in public:
            raise ValueError(f"weights: {name!r} is no row of data/weights.yaml; nearest is {nearest(name, list(public))!r}")
        rows[name] = public[name].brought(own).model_dump()
    for step in ("pretrain", "vae"):
        names = [name for name, row in rows.items() if row["replaces"] == step]
        if len(names) > 1:
            raise ValueError(f"weights: {' and '.join(names)} both take the place of {step}; name one of them")
    return rows


def all_runs(params: Params) -> dict[str, Run]:
    """The runs table with one e2e run for each point of `warmup_sweep`, like `e2e` but for its fork."""
    forks = {
        f"e2e_from_{steps}": params.runs["e2e"].model_copy(update={"parents": ["pretrain", f"warmup@{steps}"]})
        for steps in params.warmup_sweep
    }
    return params.runs | forks


def run_plans(params: Params, profile: Profile) -> dict[str, RunPlan]:
    """The plan of every run, each with parents that fit."""
    plans = {name: run_plan(name, params, profile) for name in all_runs(params)}
    for plan in plans.values():
        for parent in plan.parents:
            check_fit(plan, plans[parent.run])
    return plans


def run_plan(name: str, params: Params, profile: Profile) -> RunPlan:
    row = all_runs(params)[name]
    profile = changed(profile, name, row)
    parents = [resolve_parent(parent, params) for parent in row.parents]
    steps, snapshots = budget(name, row, params)
    return RunPlan(
        run=name,
        phase=row.phase,
        scale=params.scale,
        seeds=[SHARED_SEED] if row.phase == "pretrain" else params.seeds_of(row),
        parents=parents,
        start_step=max((parent.step for parent in parents if params.runs[parent.run].phase == "warmup"), default=0),
        steps=steps,
        snapshots=snapshots,
        log_every=profile.log_every,
        steps_per_paper_step=profile.steps_per_paper_step,
        workers=profile.workers,
        batches=batch_config(row, params, profile),
        system=profile.system,
        training=training_config(row, profile),
        devices=profile.devices,
        launch=profile.launch,
        continued=is_continued(name, params),
    )


def is_continued(name: str, params: Params) -> bool:
    """Whether a run of the table goes on with what this warm-up has learnt; no other phase is gone on with in its own way."""
    parents = {parent.partition("@")[0] for row in all_runs(params).values() for parent in row.parents}
    return all_runs(params)[name].phase == "warmup" and name in parents


def check_fit(child: RunPlan, parent: RunPlan) -> None:
    """ValueError when the parts that `parent` brings are not those of `child`; blocks may be left out, and none be missing."""
    if child.system == parent.system:
        return
    shapes, brought = part_shapes(child.system), part_shapes(parent.system)
    for name in [*brought, *(name for name in shapes if name not in brought)]:
        if name.partition(".")[0] not in PHASES[parent.phase].trains or beyond_depth(name, child.system.stdit3.depth):
            continue
        if shapes.get(name) != brought.get(name):
            brings = f"brings {name} of {brought[name]}" if name in brought else f"brings no {name}"
            own = f"has it as {shapes[name]}" if name in shapes else "has no such part"
            raise ValueError(
                f"params.yaml: runs.{child.run}.parents: {parent.run!r} {brings}, and {child.run} {own}; "
                f"give both the same changes.system, or leave this parent out"
            )


@cache
def part_shapes(config: SystemConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by the name that it has in a snapshot; nothing is allocated."""
    with torch.device("meta"):
        parts = System(config, seed=0).parts()
    return {f"{part}.{name}": tuple(p.shape) for part, module in parts.items() for name, p in module.named_parameters()}


def budget(name: str, row: Run, params: Params) -> tuple[int, list[int]]:
    """Steps and snapshots; the warm-up keeps one at each point that something may fork from."""
    if name != "warmup":
        return row.steps, sorted({*row.snapshots, row.steps})
    steps = max(row.steps, params.warmup_steps)
    return steps, sorted({*row.snapshots, *params.warmup_sweep, params.warmup_steps, steps})


def resolve_parent(parent: str, params: Params) -> Parent:
    run, _, step = parent.partition("@")
    row = params.runs[run]
    steps = {"": row.steps, "warmup_steps": params.warmup_steps}.get(step) or int(step)
    return Parent(run=run, step=steps, shared=row.phase == "pretrain")


def training_config(row: Run, profile: Profile) -> TrainingConfig:
    chosen = profile.pretraining if row.phase == "pretrain" else profile.training
    rise = max(1, round(chosen.rise * profile.steps_per_paper_step))
    return TrainingConfig(**chosen.model_dump(exclude={"rise"}), rise=rise)


def mixture(params: Params) -> Mixture:
    """Weight of each corpus; the share of a group without one goes to the others, and is told on every page."""
    return mix({name: corpus.group for name, corpus in params.corpora.items() if not corpus.evaluation_only}, params.mixture)


def batch_config(row: Run, params: Params, profile: Profile) -> BatchConfig:
    weights = mixture(params).weights
    if row.phase == "pretrain":
        weights = pretraining_weights(params, weights)
    return BatchConfig(
        num_frames=profile.clips.num_frames, weights=weights, heldout_clips=profile.clips.heldout_clips
    )


def pretraining_weights(params: Params, robots: dict[str, float]) -> dict[str, float]:
    """Half general video, half the mixture.

    not in paper: because OpenSora's own pre-training video contains robots and hands at work, and a prior that knows
    nothing of them would be a different question.
    """
    general = [name for name, corpus in params.corpora.items() if corpus.group == "general" and not corpus.evaluation_only]
    shares = {name: 0.5 / len(general) for name in general}
    rest = 1 - sum(shares.values())
    return shares | {name: rest * weight for name, weight in robots.items()}


def data_plans(params: Params, profile: Profile) -> dict[str, dict[str, Any]]:
    files = {f"simulate/{name}": corpus_plan(name, corpus, profile) for name, corpus in params.corpora.items()}
    clips = profile.clips
    files["manifest"] = {"corpora": {name: c.model_dump(exclude_none=True) for name, c in params.corpora.items()}}
    files["clips"] = {"size": clips.size, "num_frames": clips.num_frames, "mixture": params.mixture}
    files["vae"] = {**profile.vae.model_dump(exclude_none=True), "crop": clips.crop, "views": clips.views}
    files["latents"] = {
        "crop": clips.crop, "views": clips.views, "num_frames": clips.num_frames, "workers": profile.workers
    }  # fmt: skip
    return files


def corpus_plan(name: str, corpus: Corpus, profile: Profile) -> dict[str, Any]:
    """How it is rendered, or where it lies."""
    if corpus.path:
        return {"corpus": name, "path": corpus.path}
    own = corpus.model_dump(exclude={"path", "evaluation_only"})
    return {"corpus": name, **own, **profile.simulate.model_dump(), "workers": profile.workers}


def report_plan(params: Params, profile: Profile) -> dict[str, Any]:
    return {
        "scale": params.scale,
        "seeds": params.seeds,
        "warmup_steps": params.warmup_steps,
        "warmup_sweep": params.warmup_sweep,
        "steps_per_paper_step": profile.steps_per_paper_step,
        "data": mixture(params).weights,
        "notes": [str(mixture(params))] if mixture(params).missing else [],
    }


def write(files: dict[str, dict[str, Any]], folder: Path) -> None:
    """Each plan as JSON with sorted keys, so that an unchanged plan is an unchanged file."""
    for stem, content in files.items():
        path = folder / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
