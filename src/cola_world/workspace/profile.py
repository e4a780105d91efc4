"""The profile of a scale: the numbers of one machine size, and how a run of the table departs from them.

`steps_per_paper_step` is how many optimiser steps stand for one of the paper's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from cola_world.data.clips import ClipsConfig
from cola_world.data.simulate import Simulation
from cola_world.evaluation.prediction import PredictionConfig
from cola_world.evaluation.probing import ProbeConfig
from cola_world.metrics.encoder_training import EncoderTraining
from cola_world.metrics.fvd import I3D_FRAMES
from cola_world.models.config import Config
from cola_world.models.opensora_vae import MICRO_FRAMES
from cola_world.models.system import SystemConfig
from cola_world.models.vae import FRAMES_PER_LATENT, PUBLIC_VAES, VAEKind
from cola_world.training.devices import DeviceConfig
from cola_world.training.loop import TrainingConfig
from cola_world.training.vae import VAESource
from cola_world.weights.public import Brought
from cola_world.workspace.faults import nearest, parse, validated
from cola_world.workspace.params import PAPER_DEPTH, PaperSteps, Params, Run

PROFILES = Path("stages/profiles")
PAPER_BATCH = 128  # clips (B.3)


class Profile(Config):
    """stages/profiles/<scale>.yaml: the numbers of one machine size."""

    steps_per_paper_step: float = Field(gt=0, le=1)
    log_every: PaperSteps
    workers: int = Field(ge=1)
    simulate: Simulation
    clips: ClipsConfig
    vae: VAESource
    system: SystemConfig
    training: TrainingConfig
    pretraining: TrainingConfig
    launch: str = Field("python", description="what a run's process is started with, `-m` and a module following")
    devices: DeviceConfig = DeviceConfig()
    evaluate: PredictionConfig
    encoder: EncoderTraining = EncoderTraining()
    probe: ProbeConfig = ProbeConfig()
    weights: dict[str, Brought] = Field({}, description="rows of data/weights.yaml that take the place of training")

    @property
    def vae_kind(self) -> VAEKind:
        """The kind of the VAE: that of the public file where `weights` names one."""
        return next((kind for name, kind in PUBLIC_VAES.items() if name in self.weights), self.vae.kind)

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
    def networks_see_enough(self) -> Profile:
        frames = self.clips.num_frames
        if "i3d" in self.weights and frames < I3D_FRAMES:
            raise ValueError(f"clips.num_frames: {frames} is too short for the FVD of weights.i3d; at least {I3D_FRAMES}, or leave i3d out")
        return self

    @model_validator(mode="after")
    def actions_meet_latents(self) -> Profile:
        """Each latent frame after the first needs as many actions as the VAE joins frames."""
        joined, frames = FRAMES_PER_LATENT[self.vae_kind], self.clips.num_frames
        grouped = self.system.action_adaln.actions_per_latent_frame
        if grouped != joined:
            raise ValueError(
                f"system.action_adaln.actions_per_latent_frame: {grouped} does not go with the VAE {self.vae_kind!r}; "
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
    """Read and check both files below `root`. Raises ValueError with one line per fault: file, key, value, nearest
    right one.
    """
    params = parse(Params, root / "params.yaml")
    profile = parse(Profile, root / PROFILES / f"{params.scale}.yaml")
    for name, run in params.runs.items():
        changed(profile, name, run)
    check_depths(params, profile)
    return params, profile


def check_depths(params: Params, profile: Profile) -> None:
    """Raise ValueError if two depths of the table come out as one, which would be run twice and say nothing."""
    wanted = sorted({run.depth for run in params.runs.values() if run.depth} | {PAPER_DEPTH})

    def differ(own: int) -> bool:
        return len({in_proportion(depth, PAPER_DEPTH, own) for depth in wanted}) == len(wanted)

    own = profile.system.stdit3.depth
    if not differ(own):
        enough = next(depth for depth in range(own, PAPER_DEPTH + 1) if differ(depth))
        raise ValueError(
            f"{PROFILES}/{params.scale}.yaml: system.stdit3.depth: {own} does not tell the depths {', '.join(map(str, wanted))} of "
            f"params.yaml: runs apart; at least {enough} does, or leave runs out"
        )


def read_profile(scale: str, root: Path) -> Profile:
    """Read the profile of `scale` in the workspace `root`. Raises ValueError in one line."""
    folder = root / PROFILES
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if not known:
        raise ValueError(f"{folder}: no profiles here; run this in the workspace, or name it with --root")
    if scale not in known:
        raise ValueError(f"scale: {scale!r} is not one of {', '.join(known)}; nearest is {nearest(scale, known)!r}")
    return parse(Profile, folder / f"{scale}.yaml")


def changed(profile: Profile, name: str, run: Run) -> Profile:
    """Return the profile with the changes of run `name`. A wrong change is refused as in a profile."""
    changes = run.changes.model_dump(exclude_defaults=True)
    if changes:
        profile = validated(Profile, merged(profile.model_dump(), changes), f"params.yaml: runs.{name}.changes.")
    return resized(profile, run)


def resized(profile: Profile, run: Run) -> Profile:
    """Return the profile with the depth and batch that the run names."""
    sizes: dict[str, Any] = {}
    if run.depth:
        sizes["system"] = {"stdit3": {"depth": in_proportion(run.depth, PAPER_DEPTH, profile.system.stdit3.depth)}}
    if run.batch_size:
        sizes["training"] = {"batch_size": in_proportion(run.batch_size, PAPER_BATCH, profile.training.batch_size)}
    return Profile.model_validate(merged(profile.model_dump(), sizes)) if sizes else profile


def in_proportion(size: int, paper: int, own: int) -> int:
    """Scale `size` of the paper's `paper` to the profile's `own`, rounded, at least 1.

    not in paper: because the paper has one scale only, a smaller profile shrinks depths and batches in proportion.
    """
    return max(1, round(size / paper * own))


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `values` updated by `changes`, key by key through nested mappings."""
    result = dict(values)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(values.get(key), dict)
        result[key] = merged(values[key], value) if nested else value
    return result
