"""Probes of a run: every LAM that it kept, on every corpus whose real actions are known, as rows of results (paper Table 1).

Shape letters: N clips, T frames, P pairs, Z values of a latent action.
"""

import csv
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from cola_world.data.clips import ClipCache
from cola_world.data.pairs import Pairs, frame_pairs
from cola_world.evaluation.probing import Known, ProbeConfig, probe
from cola_world.files import renamed
from cola_world.hub import LatentActionModel, ModelConfig, filled
from cola_world.plan import RunPlan
from cola_world.side_by_side import Call, reporter, run_jobs
from cola_world.training import checkpoint
from cola_world.training.batches import Views, to_video

COLUMNS = ("run", "snapshot", "corpus", "seed", "metric", "value", "protocol")
CHUNK = 64  # clips that are read at once


class ProbePlan(BaseModel):
    """What is probed and how; `crop` in pixels, the middle of each cached frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: RunPlan
    corpora: list[str]
    crop: int
    probe: ProbeConfig


class Inputs(NamedTuple):
    """Folders: clip cache, and `runs`, below which snapshots are."""

    clips: Path
    runs: Path


def probe_run(plan: ProbePlan, inputs: Inputs, out: Path) -> None:
    """Write the rows of all snapshots and seeds to `out`; ValueError in one line where something cannot be probed."""
    moments = itertools.product(plan.run.snapshots, plan.run.seeds)
    jobs = {moment: Call(probe_snapshot, (plan, inputs, *moment)) for moment in moments}
    threads = 1 if plan.run.workers > 1 else torch.get_num_threads()
    found = run_jobs(jobs, plan.run.workers, threads, f"probe {plan.run.run}", len(jobs) * len(plan.corpora))
    with renamed(out) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for rows in found.values() for row in rows)


def probe_snapshot(plan: ProbePlan, inputs: Inputs, steps: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the LAM after `steps` paper steps of the run itself; `snapshot` counts from the beginning of its line, as metrics do."""
    cache, progress = ClipCache.open(inputs.clips), reporter((steps, seed))
    lam = load_lam(plan.run, inputs.runs, steps, seed)
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


def load_lam(plan: RunPlan, runs: Path, steps: int, seed: int) -> LatentActionModel:
    tensors, _ = checkpoint.load(runs / plan.run / "snapshots" / str(steps) / f"seed{seed}.safetensors")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return filled(LatentActionModel, ModelConfig(system=plan.system), tensors).to(device).eval()


def probe_corpus(plan: ProbePlan, lam: LatentActionModel, cache: ClipCache, corpus: str) -> tuple[dict[str, float], str]:
    """Metrics, and the protocol in words. Pairs are those of train and val episodes (paper C.1); no more than are ever drawn."""
    config, frames = plan.probe, plan.run.batches.num_frames
    views = Views(cache.frames.shape[1], plan.crop, 1)
    train = frame_pairs(cache, corpus, "train", frames, config.steps * config.batch_size)
    test = frame_pairs(cache, corpus, "val", frames, config.test_pairs)
    known = [Known(read_latents(lam, cache, views, pairs), real_actions(lam, pairs)) for pairs in (train, test)]
    grippers = torch.from_numpy(train.grippers_D).to(known[0].actions_ND.device)
    metrics = probe(*known, grippers, config, train.names)
    counts = f"{len(known[0].latents_NZ)} training and {len(known[1].latents_NZ)} test pairs"
    return metrics, f"linear, L1, {config.steps} steps of {config.batch_size}, mean of {config.probes} probes; {counts}"


def real_actions(lam: LatentActionModel, pairs: Pairs) -> Tensor:
    return torch.from_numpy(pairs.actions_NAD).flatten(0, 1).to(next(lam.parameters()).device)


@torch.no_grad()
def read_latents(lam: LatentActionModel, cache: ClipCache, views: Views, pairs: Pairs) -> Tensor:
    """[P, Z]: tokens of a latent action one after the other, as the world model takes them; of continuous ones the mean."""
    device = next(lam.parameters()).device
    parts = []
    for part_NT in np.array_split(pairs.clips_NT, -(-len(pairs.clips_NT) // CHUNK)):
        video = to_video(views.cut(cache.frames, part_NT, np.zeros(len(part_NT), np.int64)))
        parts.append(lam.latent_actions(video.to(device)).z_BAMZ.flatten(2).flatten(0, 1))
    return torch.cat(parts)
