"""`cola doctor`: what the runs of a scale cost on a machine, what they need, and what is missing, before they start."""

import gc
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cola_world.data.batches import Shapes
from cola_world.doctor.estimate import Disk, Load, Machine, disk, load_of, machine_for, measured_utilisation, once
from cola_world.doctor.frozen_loss import frozen_losses
from cola_world.doctor.supplies import Supply, find_corpora, find_weights
from cola_world.training.flops import meta_vae
from cola_world.weights.public import read_table
from cola_world.workspace.faults import parse
from cola_world.workspace.params import Params
from cola_world.workspace.plan import named_weights
from cola_world.workspace.profile import Profile, read_profile
from cola_world.workspace.runs import mixture, run_plans

KEPT = ("data/clips", "data/latents", "runs")  # what is there already is kept or replaced


class Report(NamedTuple):
    """All that the doctor says. `measured` is None if no run of the scale has finished."""

    scale: str
    profile: Profile
    machine: Machine
    loads: list[Load]
    once: dict[str, int]
    utilisation: float
    measured: float | None
    disk: dict[str, Disk]
    free: int
    supplies: list[Supply]
    peak_measured: bool
    frozen: dict[str, str]

    def rates(self) -> tuple[float, float]:
        """Return assumed and measured utilisation; the latter is NaN if unknown."""
        return self.utilisation, self.measured or math.nan

    def faults(self) -> list[str]:
        """Return one line for each thing that will not fit or is missing."""
        return memory_faults(self) + disk_faults(self) + [supply.fault for supply in self.supplies if supply.fault]


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch garbage collection off. Counting makes many objects and little garbage, and collecting takes a third of
    the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@no_collection()
def examine(
    root: Path, scale: str | None = None, devices: int | None = None, memory_gb: float | None = None,
    peak_tflops: float | None = None, mfu: float = 40,
) -> Report:  # fmt: skip
    """Read the workspace and estimate. Raises ValueError in one line for wrong dials."""
    params = read_params(root, scale)
    profile = read_profile(params.scale, root)
    table = read_table(root / "data" / "weights.yaml")
    rows = named_weights(profile, table)
    supplies, corpora = find_corpora(params, profile, root)
    machine = machine_for(params.scale, devices, memory_gb, peak_tflops)
    vae = meta_vae(profile.vae_kind, profile.vae.model)
    clips = profile.clips
    shapes = Shapes((clips.num_frames, 3, clips.crop, clips.crop), vae.latent_shape(clips.num_frames, clips.crop, clips.crop))
    taken = {row.replaces: name for name, row in rows.items()}
    plans = run_plans(params, profile, rows)
    loads = [load_of(plan, taken.get(plan.run, ""), machine, shapes) for plan in plans.values()]
    work = once(profile, vae, profile.vae.kind == "small" and "vae" not in taken, corpora)
    return Report(
        params.scale, profile, machine, loads, work, mfu / 100, measured_utilisation(loads, machine, root / "runs"),
        disk(profile, loads, vae, corpora), free_bytes(root), find_weights(profile, rows, root) + supplies,
        machine.cpu and peak_tflops is None, frozen_losses(profile, table | rows, mixture(params).weights, root),
    )  # fmt: skip


def read_params(root: Path, scale: str | None) -> Params:
    if not (root / "params.yaml").is_file():
        raise ValueError(f"{root / 'params.yaml'}: no dials here; run this in the workspace, or name it with --root")
    params = parse(Params, root / "params.yaml")
    return params.model_copy(update={"scale": scale or params.scale})


def free_bytes(root: Path) -> int:
    here = [path for folder in KEPT for path in (root / folder).rglob("*") if path.is_file()]
    return shutil.disk_usage(root).free + sum(path.stat().st_size for path in here)


def memory_faults(report: Report) -> list[str]:
    """Return one line for each kind of step that does not fit a device, with its largest model or batch."""
    available = report.machine.memory
    largest: dict[str, Load] = {}
    for load in sorted(report.loads, key=Load.memory, reverse=True):
        if not load.taken_from and load.memory() > available:
            largest.setdefault(label(load), load)
    return [memory_fault(load, available) for load in largest.values()]


def memory_fault(load: Load, available: float) -> str:
    fits = load.clips_that_fit(available)
    way = f"devices: {{clips_at_a_time: {fits}}} fits" if fits else "not even one fits"
    need = f"about {gigabytes(load.memory())} GB of a device's {gigabytes(available)}"
    return f"memory: {label(load)} needs {need} for {load.at_a_time} clips at a time; {way}"


def disk_faults(report: Report) -> list[str]:
    need = sum(item.total for item in report.disk.values())
    if need <= report.free:
        return []
    return [f"disk: about {gigabytes(need)} GB are needed, {gigabytes(report.free)} are free; fewer snapshots, views or frames take less"]


def label(load: Load) -> str:
    """Return the phase, and the bottleneck if it is not the paper's."""
    return load.plan.phase if load.plan.system.bottleneck == "vq" else f"{load.plan.phase} ({load.plan.system.bottleneck})"


def gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f}" if count >= 1e8 else f"{count / 1e9:.4f}"
