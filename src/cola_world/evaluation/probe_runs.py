"""Probe every LAM snapshot of a run on every corpus whose real actions are known (paper Table 1).

Shape letters: N clips, T frames, P pairs, Z values of a latent action.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache
from cola_world.data.pairs import Pairs, frame_pairs
from cola_world.evaluation.dimensions import dimensions
from cola_world.evaluation.pixels import frame_change
from cola_world.evaluation.probing import Known, ProbeConfig
from cola_world.evaluation.readings import probe
from cola_world.evaluation.rows import write_rows
from cola_world.models.config import Config
from cola_world.models.lam import LAM
from cola_world.models.pixels import to_video
from cola_world.running.device import own_device
from cola_world.running.folders import Folders
from cola_world.running.jobs import Call, reporter, run_jobs, threads_each
from cola_world.training import checkpoint
from cola_world.training.plan import RunPlan

CHUNK = 64  # clips read at once


class ProbePlan(Config):
    """What is probed and how, on the middle of each cached frame."""

    run: RunPlan
    corpora: list[str]
    probe: ProbeConfig


def probe_run(plan: ProbePlan, folders: Folders) -> None:
    """Probe all snapshots and seeds side by side and write their rows. Raises ValueError in one line."""
    moments = itertools.product(plan.run.snapshots, plan.run.seeds)
    jobs = {moment: Call(probe_snapshot, (plan, folders, *moment)) for moment in moments}
    length = len(jobs) * len(plan.corpora)
    rows = run_jobs(jobs, plan.run.workers, f"probe {plan.run.run}", length, threads_each(plan.run.workers))
    write_rows(folders.runs / "probe" / f"{plan.run.run}.csv", rows.values())


def probe_snapshot(plan: ProbePlan, folders: Folders, steps: int, seed: int) -> list[dict[str, Any]]:
    """Return the rows of the LAM after `steps` paper steps of the run. `snapshot` counts from the start of its line."""
    cache, progress = ClipCache.open(folders.clips), reporter((steps, seed))
    lam = load_lam(plan.run, folders.runs, steps, seed)
    rows = []
    for number, corpus in enumerate(plan.corpora, 1):
        about = {"run": plan.run.run, "snapshot": plan.run.start_step + steps, "corpus": corpus, "seed": seed}
        try:
            found = probe_corpus(plan, lam, cache, corpus, quantile=steps == plan.run.snapshots[-1])
        except ValueError as error:
            raise ValueError(f"{plan.run.run} after {steps} steps, seed {seed}, corpus {corpus!r}: {error}") from None
        rows += [about | {"metric": name, "value": f"{value:.6g}", "protocol": how} for name, value, how in found]
        progress(number, len(plan.corpora))
    return rows


def load_lam(plan: RunPlan, runs: Path, steps: int, seed: int) -> LAM:
    tensors, _ = checkpoint.load(runs / plan.run / "snapshots" / str(steps) / f"seed{seed}.safetensors")
    lam = LAM(plan.system, fdm=False)
    lam.load_state_dict({name: tensor for name, tensor in tensors.items() if name.startswith(("idm.", "quantizer."))})
    return lam.to(own_device()).eval()


def probe_corpus(plan: ProbePlan, lam: LAM, cache: ClipCache, corpus: str, quantile: bool) -> list[tuple[str, float, str]]:
    """Return metric, value and protocol of each number. Pairs come from train and val episodes (paper C.1), no more
    than are drawn.
    """
    views = Views(cache.frames.shape[1], plan.run.clips.crop, 1)
    both = split_pairs(cache, corpus, plan.run.clips.num_frames, plan.probe)
    known = [known_of(read_latents(lam, cache, views, pairs), cache, views, pairs) for pairs in both]
    return probe(*known, dimensions(both[0].names, both[0].actions_NAD.shape[-1]), plan.probe, quantile)


def split_pairs(cache: ClipCache, corpus: str, frames: int, config: ProbeConfig) -> list[Pairs]:
    """Return the training and the test pairs of a corpus."""
    counts = {"train": config.steps * config.batch_size, "val": config.test_pairs}
    return [frame_pairs(cache, corpus, split, frames, count) for split, count in counts.items()]


def known_of(values_PZ: Tensor, cache: ClipCache, views: Views, pairs: Pairs) -> Known:
    """Put what is read from beside what is to be read of the same pairs."""
    change_P = torch.cat([frame_change(video).flatten() for video in videos(cache, views, pairs)])
    actions_PD = torch.from_numpy(pairs.actions_NAD).flatten(0, 1)
    return Known(values_PZ, *(values.to(values_PZ.device) for values in (actions_PD, change_P)))


def videos(cache: ClipCache, views: Views, pairs: Pairs) -> Iterator[Tensor]:
    """Yield the clips of the pairs, RGB in [0, 1] [N, T, 3, Y, X], some at a time."""
    for part_NT in np.array_split(pairs.clips_NT, -(-len(pairs.clips_NT) // CHUNK)):
        yield to_video(views.cut(cache.frames, part_NT, np.zeros(len(part_NT), np.int64)))


@torch.no_grad()
def read_latents(lam: LAM, cache: ClipCache, views: Views, pairs: Pairs) -> Tensor:
    """Return latent actions [P, Z], tokens concatenated as the world model takes them; the mean if they are
    continuous.
    """
    device = next(lam.parameters()).device
    return torch.cat([lam.latent_actions(video.to(device)).z_BAMZ.flatten(2).flatten(0, 1) for video in videos(cache, views, pairs)])
