"""Estimate what the runs of a scale need of a machine: memory, time, disk. Only FLOPs are counted exactly."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from cola_world.data.batches import Shapes
from cola_world.models.vae import VAE
from cola_world.training.flops import Cost, encoding_flops, step_cost, trained_parameters, vae_step_flops
from cola_world.training.plan import RunPlan
from cola_world.workspace.profile import Profile

FP32 = 4  # bytes
# The assumed machine of a scale: devices, and GB of each. Scales that are not listed run on this machine's CPU.
MACHINES = {"gpu": (1, 24), "paper": (8, 80)}
# From NVIDIA's data sheets of H100 SXM and H200: bf16 without sparsity.
GPU_PEAK = 989e12


class Machine(NamedTuple):
    """Equal devices; `memory` in bytes and `peak` in FLOP/s of each."""

    devices: int
    memory: float
    peak: float
    cpu: bool

    def hours(self, flops: float, utilisation: float, devices: int | None = None) -> float:
        return flops / ((devices or self.devices) * self.peak * utilisation) / 3600


def machine_for(scale: str, devices: int | None, memory_gb: float | None, peak_tflops: float | None) -> Machine:
    """Return the machine that was asked for, else the one that goes with the scale."""
    cpu = scale not in MACHINES
    usual, gb = MACHINES.get(scale, (1, None))
    memory = memory_gb or gb
    return Machine(
        devices=devices or usual,
        memory=memory * 1e9 if memory else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        peak=peak_tflops * 1e12 if peak_tflops else measured_peak() if cpu else GPU_PEAK,
        cpu=cpu,
    )


def measured_peak(size: int = 1024, repeats: int = 10) -> float:
    """Measure the FLOP/s of this CPU in fp32 matrix products, the best of a few."""
    matrix, best = torch.rand(size, size), math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


class Load(NamedTuple):
    """A run on a machine. `cost` is one device's share of a step of `clips` clips, of which `at_a_time` run at once."""

    plan: RunPlan
    taken_from: str  # the row of weights that replaces the run, if any
    devices: int
    clips: int
    at_a_time: int
    cost: Cost
    trained: int
    parameters: int

    @property
    def steps(self) -> int:
        """Optimiser steps of all seeds."""
        return 0 if self.taken_from else self.plan.optimiser_steps() * len(self.plan.seeds)

    @property
    def step_flops(self) -> int:
        return self.devices * self.cost.flops

    @property
    def flops(self) -> int:
        return self.steps * self.step_flops

    @property
    def at_once(self) -> int:
        """Seeds of this run and of runs beside it that share the machine. Pre-training has one seed and runs alone."""
        return 1 if self.plan.phase == "pretrain" else self.plan.workers

    def fixed(self) -> dict[str, int]:
        """Return bytes of one seed on one device, whatever the batch: all parts in fp32, and AdamW's for those that
        learn.
        """
        return {"weights": FP32 * self.parameters, "gradients": FP32 * self.trained, "Adam": 2 * FP32 * self.trained}

    def memory(self) -> int:
        """Return the bytes that one device holds at the end of a forward pass."""
        return self.at_once * (sum(self.fixed().values()) + self.cost.kept)

    def clips_that_fit(self, memory: float) -> int:
        """Return how many clips of one seed fit a device of `memory` bytes at a time."""
        left = memory / self.at_once - sum(self.fixed().values())
        return max(0, int(left // (self.cost.kept / self.at_a_time)))


def load_of(plan: RunPlan, taken_from: str, machine: Machine, shapes: Shapes) -> Load:
    clips = math.ceil(plan.training.batch_size / machine.devices)
    at_a_time = min(clips, plan.devices.clips_at_a_time or clips)
    part = Cost(0, 0) if taken_from else step_cost(plan.system, plan.phase, shapes, at_a_time)
    cost = Cost(part.flops * clips // at_a_time, part.kept)
    return Load(plan, taken_from, machine.devices, clips, at_a_time, cost, *trained_parameters(plan.system, plan.phase))


def measured_utilisation(loads: Iterable[Load], machine: Machine, runs: Path) -> float | None:
    """Return the share of the peak that finished runs below `runs` had, overheads included, or None without any.

    Only runs of the same parts on the same kind of device count. Seeds that ran side by side shared the machine.
    """
    flops = seconds = 0.0
    for load in loads:
        for cost in finished(load, machine, runs / load.plan.run / "cost.json"):
            flops += cost["samples"] * load.cost.flops / load.clips
            seconds += cost["wall_s"] / load.at_once
    return flops / (seconds * machine.devices * machine.peak) if seconds else None


def finished(load: Load, machine: Machine, path: Path) -> list[dict]:
    """Return the costs of the run's seeds that are of this scale and whose number side by side is known."""
    known = path.is_file() and len(load.plan.seeds) >= load.at_once and not load.taken_from
    costs = json.loads(path.read_text())["seeds"].values() if known else []
    return [
        cost for cost in costs
        if sum(cost["parameters"].values()) == load.parameters and (cost["device"] == "cpu") == machine.cpu
    ]  # fmt: skip


class Corpora(NamedTuple):
    """Episodes of all corpora as (frames, stride)."""

    episodes: list[tuple[int, int]]

    @property
    def frames(self) -> int:
        return sum(frames for frames, _ in self.episodes)

    def clips(self, length: int) -> int:
        """Return the number of places where a clip of `length` frames begins."""
        return sum(max(0, frames - (length - 1) * stride) for frames, stride in self.episodes)


def once(profile: Profile, vae: VAE, trains_vae: bool, corpora: Corpora) -> dict[str, int]:
    """Return the FLOPs of what is done once, ahead of the runs: the VAE, and latents of every frame through every
    view.
    """
    clips, out = profile.clips, {}
    if trains_vae:
        out["vae"] = profile.vae.steps * vae_step_flops(vae.autoencoder, profile.vae.batch_size, clips.crop)
    length = clips.num_frames if vae.frames_per_latent > 1 else 1
    out["latents"] = clips.views * corpora.clips(length) * encoding_flops(vae, length, clips.crop)
    return out


class Disk(NamedTuple):
    """Bytes of one copy, and the number of copies."""

    bytes: int
    copies: int

    @property
    def total(self) -> int:
        return self.bytes * self.copies


def disk(profile: Profile, loads: list[Load], vae: VAE, corpora: Corpora) -> dict[str, Disk]:
    """A cache lies in the workspace and in DVC's cache, a snapshot also in the store, and a state twice while it is
    replaced.
    """
    clips = profile.clips
    joins = vae.frames_per_latent > 1
    latent = math.prod(vae.latent_shape(clips.num_frames if joins else 1, clips.crop, clips.crop))
    return {
        "clip cache": Disk(corpora.frames * 3 * clips.size**2, 2),
        "latents": Disk(clips.views * corpora.frames * latent * 2, 2),  # float16
        "snapshots": Disk(sum(snapshot_bytes(load) for load in loads), 3),
        "resume states": Disk(max(3 * FP32 * load.trained * load.at_once for load in loads), 2),
    }


def snapshot_bytes(load: Load) -> int:
    """Return the bytes of all seeds. Snapshots that runs continue from carry optimiser moments."""
    moments = 2 if load.plan.continued else 0
    return len(load.plan.snapshots) * len(load.plan.seeds) * FP32 * load.trained * (1 + moments)
