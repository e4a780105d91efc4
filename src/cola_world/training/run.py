"""One run of the table for one seed: start from the parents, train, measure, keep snapshots, and survive being killed."""

import math
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch

from cola_world.cost import Attempt
from cola_world.deadline import late, stopped
from cola_world.evaluation.health import measure
from cola_world.files import locked
from cola_world.models.system import System
from cola_world.plan import RunPlan
from cola_world.side_by_side import Progress
from cola_world.training import checkpoint, store
from cola_world.training.batches import CachedBatches
from cola_world.training.devices import Devices
from cola_world.training.loop import Trainer
from cola_world.training.phases import phase_of

SAVE_EVERY_S = 20.0
AGREE_EVERY = 20  # steps, where there are several ranks


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


class SeedRun:
    """State of one run and seed between optimiser steps."""

    def __init__(self, plan: RunPlan, seed: int, inputs: Inputs, folder: store.RunFolder, devices: Devices, attempt: Attempt):
        self.plan, self.folder, self.devices, self.attempt = plan, folder, devices, attempt
        self.phase = phase_of(plan.phase, plan.system.bottleneck)
        self.rows: list[tuple[int, str, float]] = []
        self.batches = CachedBatches(inputs.clips, inputs.latents, plan.batches, seed)
        self.heldout = self.batches.heldout()
        self.system = System(plan.system, seed)
        parents = [checkpoint.load(parent.path(inputs.runs, seed))[0] for parent in plan.parents]
        for tensors in parents:
            checkpoint.load_parts(self.system, tensors)
        self.trainer = Trainer(self.system, self.phase, plan.training, self.batches, seed, devices)
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
        """Go on from the newest saved state that is whole, if there is one."""
        for state in (self.folder.state, self.folder.before):
            if not state.exists():
                continue
            try:
                tensors, progress = checkpoint.load(state)
            except ValueError as error:
                print(f"{self.plan.run}: {error}; going on from what was saved before it", file=sys.stderr)
                continue
            return self.take(tensors, progress)
        self.log(0)

    def take(self, tensors: dict[str, torch.Tensor], progress: dict) -> None:
        if progress["fingerprint"] != self.folder.path.name:
            raise ValueError(
                f"{self.folder.path}: its state is that of {progress['fingerprint']}, made with other settings, inputs or code; "
                f"remove the folder, or put it back where it was"
            )
        checkpoint.load_parts(self.system, tensors)
        self.trainer.load_optimizer(tensors)
        self.trainer.step = progress["step"]
        self.rows = [tuple(row) for row in progress["rows"]]

    def save_state(self, losses: dict[str, torch.Tensor]) -> None:
        """Keep the state before it as well; one that has lost its numbers is never saved."""
        self.check_finite({name: loss.item() for name, loss in losses.items()}, f"optimiser step {self.trainer.step}")
        tensors = dict(self.trainer.tensors(optimizer=True))
        if self.devices.writes and self.folder.state.exists():
            os.replace(self.folder.state, self.folder.before)
        self.attempt.write()  # so that steps which another attempt goes on from are counted, whatever comes next
        progress = {"step": self.trainer.step, "rows": self.rows, "fingerprint": self.folder.path.name}
        self.save(tensors, self.folder.state, progress)

    def save_snapshot(self, steps: int) -> None:
        tensors = dict(self.trainer.tensors(optimizer=self.plan.continued))
        metadata = {"phase": self.plan.phase, "step": steps}
        self.save(tensors, self.folder.snapshot(steps), metadata)

    def save(self, tensors: dict[str, torch.Tensor], path: Path, metadata: dict) -> None:
        """One rank writes, and the others wait for it."""
        if self.devices.writes:
            checkpoint.save(tensors, path, metadata)
        self.devices.wait()

    def log(self, steps: int, losses: dict[str, torch.Tensor] | None = None) -> None:
        """Measure on the held-out clips; training losses of this step are added when there are any."""
        values = measure(self.system, self.phase, self.heldout, self.trainer.call, self.devices)
        values |= {f"train/{name}": loss.item() for name, loss in self.devices.summed(losses or {}).items()}
        at = self.plan.start_step + steps
        self.check_finite(values, f"step {at}")
        self.rows += [(at, metric, value) for metric, value in sorted(values.items())]

    def check_finite(self, values: dict[str, float], when: str) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"{self.plan.run}: {name} is {value} at {when}; try a lower learning_rate")

    def train(self, progress: Progress) -> None:
        self.saved, self.pause = time.monotonic(), SAVE_EVERY_S
        while self.trainer.step < self.last:
            losses = self.trainer.train_step()
            self.attempt.steps += 1
            step = self.trainer.step
            if step in self.logs:
                self.log(self.logs[step], losses)
            if step in self.snapshots:
                self.save_snapshot(self.snapshots[step])
            if self.may_save(step):
                self.save_now_and_then(losses)
            if self.devices.writes:
                progress(step - self.first, self.last - self.first)

    def may_save(self, step: int) -> bool:
        """Ranks have clocks of their own and agree now and then, for agreeing takes them time."""
        return step < self.last and (self.devices.ranks == 1 or step % AGREE_EVERY == 0)

    def save_now_and_then(self, losses: dict[str, torch.Tensor]) -> None:
        """Every SAVE_EVERY_S, and more rarely where saving takes long; and when the time is up, which ends the attempt."""
        stop, begun = self.devices.agreed(late()), time.monotonic()
        if stop or self.devices.agreed(begun - self.saved > self.pause):
            self.save_state(losses)
            self.saved = time.monotonic()
            self.pause = SAVE_EVERY_S * max(1.0, self.saved - begun)
        if stop:
            raise stopped(f"{self.plan.run} seed {self.trainer.seed}", f"optimiser step {self.trainer.step} of {self.last}")

    def parameters(self) -> dict[str, int]:
        return {part: sum(p.numel() for p in module.parameters()) for part, module in self.system.parts().items()}


def run_seed(plan: RunPlan, seed: int, inputs: Inputs, progress: Progress) -> Path:
    """Train to the end, unless that was done before; returns the run's folder in the store."""
    path = store.run_path(plan, seed, inputs.files(plan, seed))
    folder, devices = store.RunFolder(path), Devices(plan.devices)
    with locked(path) if devices.writes else nullcontext():
        if folder.done.exists():
            if devices.writes:
                progress(plan.optimiser_steps(), plan.optimiser_steps())
            return path
        about = {"run": plan.run, "seed": seed, "scale": plan.scale, "devices": devices.ranks}
        with Attempt(folder.attempts if devices.writes else None, **about) as attempt:
            run = SeedRun(plan, seed, inputs, folder, devices, attempt)
            run.resume()
            run.train(progress)
        if devices.writes:
            folder.write_metrics(run.rows)
            folder.finish({"commit": commit(), "parameters": run.parameters()})
        devices.wait()
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
    named = (":/src", ":/stages", ":/params.yaml", ":(top,exclude)*dvc.lock")  # of the repository, wherever in it this runs
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *named)
    return head + ("+" if changed else "")
