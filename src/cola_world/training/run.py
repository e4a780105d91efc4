"""One run of the table for one seed: start from the parents, train, measure, keep snapshots, and survive being killed."""

import math
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from cola_world.evaluation.health import measure
from cola_world.models.system import System
from cola_world.plan import RunPlan
from cola_world.training import checkpoint, store
from cola_world.training.batches import CachedBatches
from cola_world.training.loop import Trainer
from cola_world.training.phases import phase_of

SAVE_EVERY_S = 20.0


class Inputs(NamedTuple):
    """Folders that a run reads: clip cache, latent cache, and `runs`, below which its parents are."""

    clips: Path
    latents: Path
    runs: Path

    def files(self, plan: RunPlan, seed: int) -> dict[str, Path]:
        caches = {"clips": self.clips / "card.json", "latents": self.latents / "card.json"}
        parents = {f"parent {p.run}": p.path(self.runs, seed) for p in plan.parents}
        files = caches | parents
        for file in files.values():
            if not file.is_file():
                raise ValueError(f"{file} does not exist; run the stage that writes it first")
        return files


Progress = Callable[[int, int], None]


class SeedRun:
    """State of one run and seed between optimiser steps."""

    def __init__(self, plan: RunPlan, seed: int, inputs: Inputs, folder: store.RunFolder):
        self.plan, self.folder = plan, folder
        self.phase = phase_of(plan.phase, plan.system.bottleneck)
        self.rows: list[tuple[int, str, float]] = []
        self.wall_s = 0.0
        self.batches = CachedBatches(inputs.clips, inputs.latents, plan.batches, seed)
        self.heldout = self.batches.heldout()
        self.system = System(plan.system, seed)
        parents = [checkpoint.load(parent.path(inputs.runs, seed))[0] for parent in plan.parents]
        for tensors in parents:
            checkpoint.load_parts(self.system, tensors)
        self.trainer = Trainer(self.system, self.phase, plan.training, self.batches, seed)
        for tensors in parents:
            self.trainer.load_optimizer(tensors)
        self.first = self.trainer.step = plan.optimiser(plan.start_step)
        self.last = plan.optimiser(plan.start_step + plan.steps)
        self.logs = self.marks(range(plan.log_every, plan.steps, plan.log_every)) | {self.last: plan.steps}
        self.snapshots = self.marks(plan.snapshots)

    def marks(self, paper_steps) -> dict[int, int]:
        """Optimiser step -> the paper steps of this run that it stands for."""
        return {self.plan.optimiser(self.plan.start_step + steps): steps for steps in paper_steps}

    def resume(self) -> None:
        """Go on from the saved state, if there is one."""
        if not self.folder.state.exists():
            self.log(0)
            return
        tensors, progress = checkpoint.load(self.folder.state)
        checkpoint.load_parts(self.system, tensors)
        self.trainer.load_optimizer(tensors)
        self.trainer.step, self.wall_s = progress["step"], progress["wall_s"]
        self.rows = [tuple(row) for row in progress["rows"]]

    def save_state(self) -> None:
        progress = {"step": self.trainer.step, "rows": self.rows, "wall_s": self.wall_s}
        checkpoint.save(dict(self.trainer.tensors(optimizer=True)), self.folder.state, progress)

    def save_snapshot(self, steps: int) -> None:
        # Only a warm-up is continued by another run, so only its snapshots carry optimiser moments.
        tensors = dict(self.trainer.tensors(optimizer=self.plan.phase == "warmup"))
        metadata = {"phase": self.plan.phase, "step": steps}
        checkpoint.save(tensors, self.folder.snapshot(steps), metadata)

    def log(self, steps: int, losses: dict[str, torch.Tensor] | None = None) -> None:
        """Measure on the held-out clips; training losses of this step are added when there are any."""
        values = measure(self.system, self.phase, self.heldout)
        values |= {f"train/{name}": loss.item() for name, loss in (losses or {}).items()}
        at = self.plan.start_step + steps
        for metric, value in sorted(values.items()):
            if not math.isfinite(value):
                raise ValueError(f"{self.plan.run}: {metric} is {value} at step {at}; try a lower learning_rate")
            self.rows.append((at, metric, value))

    def train(self, progress: Progress) -> None:
        started, saved = time.monotonic() - self.wall_s, time.monotonic()
        while self.trainer.step < self.last:
            losses = self.trainer.train_step()
            step = self.trainer.step
            if step in self.logs:
                self.log(self.logs[step], losses)
            if step in self.snapshots:
                self.save_snapshot(self.snapshots[step])
            now = time.monotonic()
            self.wall_s = now - started
            if now - saved > SAVE_EVERY_S:
                self.save_state()
                saved = time.monotonic()
            progress(step - self.first, self.last - self.first)

    def cost(self) -> dict:
        steps = self.last - self.first
        return {
            "wall_s": round(self.wall_s, 1),
            "steps": steps,
            "samples": steps * self.plan.training.batch_size,
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "device": "cpu",
            "commit": commit(),
            "parameters": {
                part: sum(p.numel() for p in module.parameters()) for part, module in self.system.parts().items()
            },
        }


def run_seed(plan: RunPlan, seed: int, inputs: Inputs, progress: Progress) -> Path:
    """Train to the end, unless that was done before; returns the run's folder in the store."""
    path = store.scratch() / "runs" / store.fingerprint(plan, seed, inputs.files(plan, seed))
    folder = store.RunFolder(path)
    with store.locked(path):
        if folder.done.exists():
            return path
        run = SeedRun(plan, seed, inputs, folder)
        run.resume()
        run.train(progress)
        folder.write_metrics(run.rows)
        folder.finish(run.cost())
    return path


def commit() -> str:
    """Commit of the working tree, with `+` when it was changed since; `none` outside git."""
    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else ""

    head = git("rev-parse", "--short=10", "HEAD")
    if not head:
        return "none"
    # A pipeline rewrites its lock files while it runs; they say nothing of the code.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "stages", "params.yaml", ":!*dvc.lock")
    return head + ("+" if changed else "")
