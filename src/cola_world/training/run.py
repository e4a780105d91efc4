"""One run of the table for one seed: start from the parents, train, measure, keep snapshots, survive being killed.

By hand, or under a launcher: torchrun --nproc-per-node 8 -m cola_world.training.run runs/plan/e2e.json --seed 0
"""

import argparse
import math
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from cola_world.data.batches import CachedBatches
from cola_world.models.layers import count
from cola_world.models.system import System
from cola_world.running.cost import Attempt
from cola_world.running.deadline import SAVE_EVERY_S, late, stopped
from cola_world.running.files import locked
from cola_world.running.folders import Folders
from cola_world.running.process import die_with_parent
from cola_world.running.progress import Bar, Progress
from cola_world.training import checkpoint, store
from cola_world.training.devices import Devices, load_parts
from cola_world.training.health import ENOUGH_DRAWS, FEW_DRAWS, measure
from cola_world.training.loop import Trainer
from cola_world.training.phases import phase_of
from cola_world.training.plan import RunPlan

AGREE_EVERY = 20  # steps, with several ranks


class SeedRun:
    """State of one run and seed between optimiser steps."""

    def __init__(self, plan: RunPlan, seed: int, folders: Folders, folder: store.RunFolder, devices: Devices, attempt: Attempt):
        self.plan, self.folder, self.devices, self.attempt = plan, folder, devices, attempt
        self.phase = phase_of(plan.phase, plan.system.bottleneck)
        self.rows: list[tuple[int, str, float]] = []
        self.batches = CachedBatches(folders.clips, folders.latents, plan.clips.num_frames, plan.weights, seed)
        self.heldout = self.batches.heldout(plan.clips.heldout_clips)
        self.partners = self.batches.partners(plan.clips.heldout_clips)
        self.system = System(plan.system, seed)
        parents = [checkpoint.load(parent.path(folders.runs, seed))[0] for parent in plan.parents]
        for tensors in parents:
            load_parts(self.system, tensors)
        self.trainer = Trainer(self.system, self.phase, plan.training, self.batches, seed, devices, plan.steps_per_paper_step)
        for tensors in parents:
            self.trainer.load_optimizer(tensors)
        self.first = self.trainer.step = plan.optimiser(plan.start_step)
        self.last = plan.optimiser(plan.start_step + plan.steps)
        self.logs = self.marks(range(plan.log_every, plan.steps, plan.log_every)) | {self.last: plan.steps}
        self.snapshots = self.marks(plan.snapshots)

    def marks(self, paper_steps) -> dict[int, int]:
        """Map optimiser steps to the paper steps of this run that they stand for."""
        return {self.plan.optimiser(self.plan.start_step + steps): steps for steps in paper_steps}

    def resume(self) -> None:
        """Resume from the newest saved state that is whole, if any."""
        for state in (self.folder.state, self.folder.previous):
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
        load_parts(self.system, tensors)
        self.trainer.load_optimizer(tensors)
        self.trainer.step = progress["step"]
        self.rows = [tuple(row) for row in progress["rows"]]

    def save_state(self, losses: dict[str, torch.Tensor]) -> None:
        """Save the state and keep the one before. A state with values that are not finite is never saved."""
        self.check_finite({name: loss.item() for name, loss in losses.items()}, f"optimiser step {self.trainer.step}")
        tensors = dict(self.trainer.tensors(optimizer=True))
        if self.devices.writes and self.folder.state.exists():
            os.replace(self.folder.state, self.folder.previous)
        self.attempt.write()  # steps that another attempt resumes from count, whatever comes next
        progress = {"step": self.trainer.step, "rows": self.rows, "fingerprint": self.folder.path.name}
        self.save(tensors, self.folder.state, progress)

    def save_snapshot(self, steps: int) -> None:
        tensors = dict(self.trainer.tensors(optimizer=self.plan.continued))
        metadata = {"phase": self.plan.phase, "step": steps}
        self.save(tensors, self.folder.snapshot(steps), metadata)

    def save(self, tensors: dict[str, torch.Tensor], path: Path, metadata: dict) -> None:
        """Write on one rank while the others wait."""
        if self.devices.writes:
            checkpoint.save(tensors, path, metadata)
        self.devices.wait()

    def log(self, steps: int, losses: dict[str, torch.Tensor] | None = None) -> None:
        """Measure on the held-out clips, and add the training losses of this step if given."""
        draws = ENOUGH_DRAWS if steps in self.plan.snapshots else FEW_DRAWS
        values = measure(self.system, self.phase, self.heldout, self.partners, self.trainer.call, self.devices, draws=draws)
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
        """Ranks have their own clocks. They agree only now and then, because agreeing takes time."""
        return step < self.last and (self.devices.ranks == 1 or step % AGREE_EVERY == 0)

    def save_now_and_then(self, losses: dict[str, torch.Tensor]) -> None:
        """Save every SAVE_EVERY_S, less often if saving is slow, and when the time is up, which ends the attempt."""
        stop, begun = self.devices.agreed(late()), time.monotonic()
        if stop or self.devices.agreed(begun - self.saved > self.pause):
            self.save_state(losses)
            self.saved = time.monotonic()
            self.pause = SAVE_EVERY_S * max(1.0, self.saved - begun)
        if stop:
            raise stopped(f"{self.plan.run} seed {self.trainer.seed}", f"optimiser step {self.trainer.step} of {self.last}")


def train(plan: RunPlan, seed: int, folders: Folders, progress: Progress) -> Path:
    """Train to the end unless that was done before -> the folder of the run in the store."""
    path = store.run_path(plan, seed, folders)
    folder, devices = store.RunFolder(path), Devices(plan.devices)
    with locked(path) if devices.writes else nullcontext():
        if folder.done.exists():
            if devices.writes:
                progress(plan.optimiser_steps(), plan.optimiser_steps())
            return path
        about = {"run": plan.run, "seed": seed, "scale": plan.scale, "devices": devices.ranks}
        with Attempt(folder.attempts if devices.writes else None, **about) as attempt:
            run = SeedRun(plan, seed, folders, folder, devices, attempt)
            run.resume()
            run.train(progress)
        if devices.writes:
            folder.write_metrics(run.rows)
            parameters = {part: count(module) for part, module in run.system.parts().items()}
            folder.finish({"commit": commit(), "parameters": parameters})
        devices.wait()
    return path


def commit() -> str:
    """Return the commit of the working tree, with `+` if it was changed since, or `none` outside git."""

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else ""

    head = git("rev-parse", "--short=10", "HEAD")
    if not head:
        return "none"
    # Pipelines rewrite lock files while they run. Lock files say nothing of the code.
    named = (":/src", ":/stages", ":/params.yaml", ":(top,exclude)*dvc.lock")  # relative to the root of the repository
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *named)
    return head + ("+" if changed else "")


def main(words: list[str] | None = None) -> None:
    """Run this process as one rank; the launcher decides how many there are."""
    die_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--root", type=Path, default=Path("."), help="the workspace (default: here)")
    chosen = parser.parse_args(words)
    plan = RunPlan.model_validate_json(chosen.plan.read_text())
    try:
        with Bar(f"{plan.run} seed {chosen.seed}") as bar:
            train(plan, chosen.seed, Folders(chosen.root), bar.update)
    except ValueError as error:
        sys.exit(f"{plan.run}: {error}")


if __name__ == "__main__":
    main()
