"""Probe every LAM snapshot of a run on every corpus whose real actions are known (paper Table 1)."""

import itertools
from pathlib import Path
from typing import Any

from cola_world.data.clips import ClipCache
from cola_world.evaluation.corpus_pairs import Split, splits
from cola_world.evaluation.probing import Known, ProbeConfig
from cola_world.evaluation.readings import Row, probe
from cola_world.evaluation.rows import write_rows
from cola_world.models.config import Config
from cola_world.models.lam import LAM
from cola_world.running.device import own_device
from cola_world.running.folders import Folders
from cola_world.running.jobs import Call, reporter, run_jobs, threads_each
from cola_world.training import checkpoint
from cola_world.training.plan import RunPlan


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


def probe_corpus(plan: ProbePlan, lam: LAM, cache: ClipCache, corpus: str, quantile: bool) -> list[Row]:
    """Return metric, value and protocol of each number."""
    train, test = splits(cache, corpus, plan.run.clips, plan.probe)
    return probe(read_latents(lam, train), read_latents(lam, test), train.kinds, plan.probe, quantile)


def read_latents(lam: LAM, split: Split) -> Known:
    """Read latent actions, tokens concatenated as the world model takes them; the mean if they are continuous."""
    device = next(lam.parameters()).device
    return split.read(lambda video: lam.latent_actions(video.to(device)).z_BAMZ.flatten(2))
