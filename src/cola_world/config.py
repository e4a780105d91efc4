"""params.yaml and the profile of a scale, validated as one before any work.

Budgets are written in the paper's optimiser steps at every scale; a profile's `steps_per_paper_step` says how many
steps of its own stand for one of them.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cola_world.models.system import SystemConfig
from cola_world.models.vae import FRAMES_PER_LATENT, MICRO_FRAMES, VAEConfig, VAEKind
from cola_world.training.devices import DeviceConfig
from cola_world.weights import Brought

Scale = Literal["smoke", "cpu", "gpu", "paper"]
PaperSteps = Annotated[int, Field(ge=1)]
# Sizes that the runs table gives as the paper has them (B.2, B.3): pairs of a spatial and a temporal block, and clips of a batch.
PAPER_DEPTH, PAPER_BATCH = 28, 128
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


RENDERED = ("data", "raw")  # the folder that `simulate` writes


class Corpus(Strict):
    """Where a corpus comes from, a simulator or a data set; `group`: its role in the paper's mixture, `general` for pre-training only."""

    group: Literal["general", "oxe", "agibot", "human", "out_of_distribution"]
    environment: str | None = Field(None, description="the simulator that renders it")
    path: str | None = Field(None, description="the LeRobot data set that it is, read where it lies; relative to the repository's root")
    stride: int = Field(1, ge=1, description="saved frames between two frames of a clip")
    hide_actions: bool = False
    evaluation_only: bool = Field(False, description="probed and evaluated, and no model is ever trained on it, the VAE included")

    @model_validator(mode="after")
    def out_of_distribution_is_not_trained_on(self) -> Corpus:
        if self.group == "out_of_distribution" and not self.evaluation_only:
            raise ValueError("evaluation_only: false does not go with the group 'out_of_distribution'; the right one is true")
        return self

    @model_validator(mode="after")
    def comes_from_one_place(self) -> Corpus:
        if (self.environment is None) == (self.path is None):
            raise ValueError("environment: name the simulator that renders it, or with path the data set that it is; one of the two")
        if self.path and Path(self.path).parts[:2] == RENDERED:
            raise ValueError(f"path: {self.path!r} is where simulated data is replaced; keep your own elsewhere, as data/own/<name>")
        return self


class Changes(Strict):
    """What a run sets otherwise than its profile does, spelt as the profile spells it; `changed` checks the keys."""

    system: dict[str, Any] = {}
    training: dict[str, Any] = {}


class Run(Strict):
    """A row of the runs table. `parents` are runs or run@step whose parts it starts from; a later one wins.

    `changes` are the run's own: a child whose parents' parts are to fit repeats those that shape them. Only a world model of
    fewer blocks than its parents' takes the first of theirs.
    """

    phase: Literal["pretrain", "lam", "wm", "warmup", "e2e", "finetune"]
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


class Params(Strict):
    """params.yaml: the dials that a person turns."""

    scale: Scale
    warmup_steps: PaperSteps
    warmup_sweep: list[PaperSteps]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    heavy_seeds: int = Field(ge=1, description="how many of the seeds, the first ones, rows of `runs` have that say `seeds: heavy_seeds`")
    corpora: dict[str, Corpus]
    mixture: dict[str, Annotated[float, Field(ge=0)]]
    runs: dict[str, Run]
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
        roles = get_args(Corpus.model_fields["group"].annotation)
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


class Simulation(Strict):
    """How much stand-in video to render; sizes in pixels, lengths in frames."""

    episodes: int = Field(ge=2)
    frames: int = Field(ge=8)
    size: int = Field(ge=16)
    fps: int = Field(10, ge=1)
    variety: float = Field(1.0, ge=0, le=1, description="how much colours, light and camera differ between episodes")
    camera_reach: float = Field(0.0, ge=0, le=1, description="how far a camera looks aside, in widths of the picture")
    camera_speed: float = Field(0.13, gt=0, le=1, description="how far it turns between two frames, in the same unit")
    seed: int = 0


class Clips(Strict):
    """The clip cache: side of cached frames, side of the crop, number of crop views, frames of a clip."""

    size: int = Field(ge=8)
    crop: int = Field(ge=8)
    views: int = Field(ge=1)
    num_frames: int = Field(8, ge=2)
    heldout_clips: int = Field(256, ge=2)

    @model_validator(mode="after")
    def crop_fits(self) -> Clips:
        if self.crop > self.size:
            raise ValueError(f"crop: {self.crop} is larger than the frame; at most {self.size} is possible")
        return self


class VAEProfile(Strict):
    """A small VAE trained on the clips, or a published one from `path`, its folder or its safetensors file."""

    kind: VAEKind = "small"
    model: VAEConfig | None = None
    steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    path: str | None = None

    @model_validator(mode="after")
    def fields_go_with_kind(self) -> VAEProfile:
        needed = {"model", "steps", "batch_size", "learning_rate"} if self.kind == "small" else {"path"}
        for field, value in self:
            if field == "kind":
                continue
            if value is None and field in needed:
                raise ValueError(f"{field}: missing; the kind {self.kind!r} has no default for it")
            if value is not None and field not in needed:
                raise ValueError(f"{field}: {value!r} has no effect on the kind {self.kind!r}; leave it out")
        return self


class TrainingProfile(Strict):
    """Batch and learning rate; the rise is in paper steps (paper B.3: 128, 7.5e-5, 2000)."""

    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    rise: PaperSteps = 2000
    ema: float = Field(0.0, ge=0, lt=1)


class Encoder(Strict):
    """Training of the encoder that stands in for the public networks of video metrics."""

    steps: int = Field(600, ge=1)
    batch_size: int = Field(64, ge=1)


class Evaluation(Strict):
    """Video prediction: clips of each group of corpora, denoising steps and guidance (paper B.2, C.1: 240 on a device, 10, 4.0)."""

    clips: int = Field(ge=2)
    steps: int = Field(10, ge=1)
    guidance: float = 4.0
    clips_at_a_time: int = Field(48, ge=1)


class Probe(Strict):
    """Linear probes of latent actions: optimiser steps, and frame pairs a step and to test on (paper C.1: 1000, 512, 20000)."""

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(512, ge=1)
    test_pairs: int = Field(20000, ge=1)


class Profile(Strict):
    """stages/profiles/<scale>.yaml: the numbers of one machine size."""

    steps_per_paper_step: float = Field(gt=0, le=1)
    log_every: PaperSteps
    workers: int = Field(ge=1)
    simulate: Simulation
    clips: Clips
    vae: VAEProfile
    system: SystemConfig
    training: TrainingProfile
    pretraining: TrainingProfile
    launch: str = Field("python", description="what a run's process is started with, `-m` and a module following")
    devices: DeviceConfig = DeviceConfig()
    evaluate: Evaluation
    encoder: Encoder = Encoder()
    probe: Probe = Probe()
    weights: dict[str, Brought] = Field({}, description="rows of data/weights.yaml that take the place of training")

    @model_validator(mode="after")
    def sizes_agree(self) -> Profile:
        for part in ("idm", "fdm"):
            size = getattr(self.system, part).image_size
            if size > self.clips.crop:
                raise ValueError(f"system.{part}.image_size: {size} exceeds clips.crop; at most {self.clips.crop} is possible")
        if self.system.fdm.image_size != self.system.idm.image_size:
            raise ValueError(f"system.fdm.image_size: {self.system.fdm.image_size} differs from the IDM's {self.system.idm.image_size}")
        if self.simulate.frames < self.clips.num_frames:
            raise ValueError(f"simulate.frames: {self.simulate.frames} is shorter than a clip; at least {self.clips.num_frames}")
        return self

    @model_validator(mode="after")
    def actions_meet_latents(self) -> Profile:
        """Each latent frame after the first has as many actions as the VAE joins frames."""
        joined, frames = FRAMES_PER_LATENT[self.vae.kind], self.clips.num_frames
        grouped = self.system.action_adaln.actions_per_latent_frame
        if grouped != joined:
            raise ValueError(
                f"system.action_adaln.actions_per_latent_frame: {grouped} does not go with the VAE {self.vae.kind!r}; "
                f"the right one is {joined}"
            )
        if joined > 1 and (frames % joined != 1 or frames > MICRO_FRAMES):
            fitting = range(joined + 1, MICRO_FRAMES + 1, joined)
            closest = min(fitting, key=lambda length: abs(length - frames))
            raise ValueError(
                f"clips.num_frames: {frames} is no clip of one frame and then {joined} a latent, up to {MICRO_FRAMES}; "
                f"nearest right one is {closest}"
            )
        return self


def load(root: Path) -> tuple[Params, Profile]:
    """Read and check both files below `root`; ValueError with one line a fault: file, key, value, nearest right one."""
    params = parse(Params, root / "params.yaml")
    profile = parse(Profile, root / "stages" / "profiles" / f"{params.scale}.yaml")
    for name, run in params.runs.items():
        changed(profile, name, run)
    return params, profile


def parse(model: type[Model], path: Path) -> Model:
    return validated(model, yaml.safe_load(path.read_text()), f"{path.name}: ")


def validated(model: type[Model], values: Any, where: str) -> Model:
    """ValueError with one line a fault, each beginning with `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(f"{where}{explain(model, fault)}" for fault in error.errors())) from None


def changed(profile: Profile, name: str, run: Run) -> Profile:
    """The profile as run `name` has it; a change that does not fit is refused as one of the profile's own would be."""
    changes = run.changes.model_dump(exclude_defaults=True)
    if changes:
        profile = validated(Profile, merged(profile.model_dump(), changes), f"params.yaml: runs.{name}.changes.")
    return resized(profile, run)


def resized(profile: Profile, run: Run) -> Profile:
    """The profile with the run's own depth and batch, as far as the run names them."""
    sizes: dict[str, Any] = {}
    if run.depth:
        sizes["system"] = {"stdit3": {"depth": in_proportion(run.depth, PAPER_DEPTH, profile.system.stdit3.depth)}}
    if run.batch_size:
        sizes["training"] = {"batch_size": in_proportion(run.batch_size, PAPER_BATCH, profile.training.batch_size)}
    return Profile.model_validate(merged(profile.model_dump(), sizes)) if sizes else profile


def in_proportion(size: int, paper: int, own: int) -> int:
    """`size` of the paper's `paper` as a share of the profile's `own`, rounded, at least 1.

    not in paper: because it has one scale only, a smaller profile shrinks depths and batches in the paper's proportions; where
    two of them round to the same number, they are the same run.
    """
    return max(1, round(size / paper * own))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in their place, key by key through nested mappings."""
    result = dict(values)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(values.get(key), dict)
        result[key] = merged(values[key], value) if nested else value
    return result


def explain(model: type[BaseModel], fault: dict[str, Any]) -> str:
    """One line for a pydantic fault."""
    key, value, context = ".".join(map(str, fault["loc"])), fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            known = fields_at(model, fault["loc"][:-1])
            return f"{key}: unknown key (value {value!r}); nearest is {nearest(fault['loc'][-1], known)!r}"
        case "missing":
            return f"{key}: missing; it has no default"
        case "literal_error":
            return f"{key}: {value!r} is not one of {context['expected']}"
        case "greater_than_equal" | "less_than_equal":
            return f"{key}: {value!r} is out of range; nearest right one is {context.get('ge', context.get('le'))}"
        case "greater_than":
            return f"{key}: {value!r} is out of range; it must be greater than {context['gt']}"
        case "value_error":
            return f"{key}.{context['error']}" if key else str(context["error"])
        case "float_type" if isinstance(value, str):
            return f"{key}: {value!r} is text, not a number; YAML wants a dot, as in 1.0e-4"
        case _:
            return f"{key}: {value!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def fields_at(model: Any, loc: tuple) -> list[str]:
    """Field names of the model that `loc` leads to."""
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            model = next((a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)), model)
    if get_args(model):
        model = next((a for a in get_args(model) if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return list(getattr(model, "model_fields", {}))


def nearest(word: Any, known: list[str] | tuple[str, ...]) -> str:
    return max(known, key=lambda name: difflib.SequenceMatcher(None, str(word), name).ratio(), default="")
