"""Probe every LAM snapshot of a run on every corpus whose real actions are known (paper Table 1).

Shape letters: N clips, T frames, P pairs, Z values of a latent action.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache
from cola_world.data.pairs import Pairs, frame_pairs
from cola_world.evaluation.probing import Known, ProbeConfig, probe
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
            metrics, protocol = probe_corpus(plan, lam, cache, corpus)
        except ValueError as error:
            raise ValueError(f"{plan.run.run} after {steps} steps, seed {seed}, corpus {corpus!r}: {error}") from None
        rows += [about | {"metric": name, "value": f"{value:.6g}", "protocol": protocol} for name, value in metrics.items()]
        progress(number, len(plan.corpora))
    return rows


def load_lam(plan: RunPlan, runs: Path, steps: int, seed: int) -> LAM:
    tensors, _ = checkpoint.load(runs / plan.run / "snapshots" / str(steps) / f"seed{seed}.safetensors")
    lam = LAM(plan.system, fdm=False)
    lam.load_state_dict({name: tensor for name, tensor in tensors.items() if name.startswith(("idm.", "quantizer."))})
    return lam.to(own_device()).eval()


def probe_corpus(plan: ProbePlan, lam: LAM, cache: ClipCache, corpus: str) -> tuple[dict[str, float], str]:
    """Return metrics, and the protocol in words. Pairs come from train and val episodes (paper C.1), no more than are
    drawn.
    """
    config, frames = plan.probe, plan.run.clips.num_frames
    views = Views(cache.frames.shape[1], plan.run.clips.crop, 1)
    train = frame_pairs(cache, corpus, "train", frames, config.steps * config.batch_size)
    test = frame_pairs(cache, corpus, "val", frames, config.test_pairs)
    known = [Known(read_latents(lam, cache, views, pairs), real_actions(lam, pairs)) for pairs in (train, test)]
    grippers = torch.from_numpy(train.grippers_D).to(known[0].actions_ND.device)
    metrics = probe(*known, grippers, config, train.names)
    counts = f"{len(known[0].latents_NZ)} training and {len(known[1].latents_NZ)} test pairs"
    return metrics, f"linear, L1, {config.steps} steps of {config.batch_size}, mean of {config.probes} probes; {counts}"


def real_actions(lam: LAM, pairs: Pairs) -> Tensor:
    return torch.from_numpy(pairs.actions_NAD).flatten(0, 1).to(next(lam.parameters()).device)


@torch.no_grad()
def read_latents(lam: LAM, cache: ClipCache, views: Views, pairs: Pairs) -> Tensor:
    """Return latent actions [P, Z], tokens concatenated as the world model takes them; the mean if they are
    continuous.
    """
    device = next(lam.parameters()).device
    parts = []
    for part_NT in np.array_split(pairs.clips_NT, -(-len(pairs.clips_NT) // CHUNK)):
        video = to_video(views.cut(cache.frames, part_NT, np.zeros(len(part_NT), np.int64)))
        parts.append(lam.latent_actions(video.to(device)).z_BAMZ.flatten(2).flatten(0, 1))
    return torch.cat(parts)
