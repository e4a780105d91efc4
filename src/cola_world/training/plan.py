"""A run of the table, resolved: everything that its training needs except the seed."""

from pathlib import Path

from pydantic import Field

from cola_world.data.clips import ClipsConfig
from cola_world.models.config import Config
from cola_world.models.system import SystemConfig
from cola_world.training.devices import DeviceConfig
from cola_world.training.loop import TrainingConfig
from cola_world.weights.public import PublicFile

# not in paper: because all runs of the paper start from one public OpenSora checkpoint, its stand-in has one seed too, and
# so has the VAE: intervals over seeds say nothing of what another prior or another VAE would give.
SHARED_SEED = 0


class Parent(Config):
    """A snapshot that a run starts from. If `shared`, it is one for all seeds."""

    run: str
    step: int
    shared: bool

    def path(self, runs: Path, seed: int) -> Path:
        seed = SHARED_SEED if self.shared else seed
        return runs / self.run / "snapshots" / str(self.step) / f"seed{seed}.safetensors"


class RunPlan(Config):
    """The settings of one run. Steps are the paper's unless named `optimiser`."""

    run: str
    phase: str
    scale: str
    seeds: list[int]
    parents: list[Parent]
    start_step: int
    steps: int
    snapshots: list[int]
    log_every: int
    steps_per_paper_step: float
    workers: int
    clips: ClipsConfig
    weights: dict[str, float] = Field(description="share of each corpus in a batch")
    system: SystemConfig
    training: TrainingConfig
    devices: DeviceConfig = DeviceConfig()
    launch: str = "python"
    continued: bool = Field(False, description="runs of the table go on from its snapshots, which then carry optimiser moments")
    public: dict[str, PublicFile] = Field({}, description="the row of data/weights.yaml that takes the place of training, if any")

    def optimiser(self, paper_steps: int) -> int:
        """Convert paper steps to optimiser steps, at least one."""
        return max(1, round(paper_steps * self.steps_per_paper_step)) if paper_steps else 0

    def optimiser_steps(self) -> int:
        """Return the optimiser steps of the run itself, without those of its ancestors."""
        return self.optimiser(self.start_step + self.steps) - self.optimiser(self.start_step)

    def line(self, runs: Path, seed: int, steps: int) -> list[Path]:
        """Return the snapshots that hold the system after `steps` of this run. A later one wins."""
        own = Parent(run=self.run, step=steps, shared=self.phase == "pretrain")
        return [snapshot.path(runs, seed) for snapshot in (*self.parents, own)]

    def described(self, parameters: dict[str, int]) -> dict:
        """Return what reports say of the run, the content of `run.json`."""
        return {
            "run": self.run,
            "phase": self.phase,
            "scale": self.scale,
            "steps": self.steps,
            "start_step": self.start_step,
            "steps_per_paper_step": self.steps_per_paper_step,
            "parents": [f"{parent.run}@{parent.step}" for parent in self.parents],
            "protocol": f"{self.clips.heldout_clips} held-out clips of {self.clips.num_frames} frames",
            "parameters": parameters,
        }
