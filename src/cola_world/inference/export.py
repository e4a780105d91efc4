"""Export a finished run as folders that load in one line: `lam`, `world_model`, and their `vae`."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from cola_world.models.stdit3 import beyond_depth
from cola_world.running.files import renamed
from cola_world.running.folders import Folders
from cola_world.training import checkpoint
from cola_world.training.phases import PHASES
from cola_world.training.plan import RunPlan
from cola_world.weights.hub import ActionWorldModel, Frames, LatentActionModel, Model, ModelConfig, from_snapshot


def export(run: str, seed: int, to: Path, root: Path, steps: int | None = None) -> list[Path]:
    """Write what `run` has below `to`, from its snapshot after `steps` paper steps (default: the last) -> the
    folders.

    `root` is the workspace with runs/. Raises ValueError in one line if there is no such run, seed or snapshot.
    """
    folders = Folders(root)
    plan = read_plan(run, folders)
    if PHASES[plan.phase].actions == "none":
        raise ValueError(f"{run}: it is trained on video alone and has no latent actions to export; choose a run of another phase")
    steps = plan.steps if steps is None else steps
    if steps not in plan.snapshots:
        raise ValueError(f"{run}: no snapshot after {steps} steps; it has {', '.join(map(str, plan.snapshots))}")
    tensors = line_of_tensors(plan, seed, folders.runs, steps)
    config = model_config(plan, seed, folders.runs / run, steps)
    made = [save(LatentActionModel, config, tensors, to / "lam")]
    if any(name.startswith("action_adaln.") for name in tensors):
        made.append(save(ActionWorldModel, config, tensors, to / "world_model"))
        with replacing(to / "vae") as partial:
            shutil.copytree(folders.vae, partial)
        made.append(to / "vae")
    return made


def read_plan(run: str, folders: Folders) -> RunPlan:
    path = folders.plans / f"{run}.json"
    known = sorted(file.parent.name for file in folders.runs.glob("*/run.json"))
    if run not in known or not path.is_file():
        raise ValueError(f"{run}: no finished run of this name below {folders.runs}; there are: {', '.join(known) or 'none'}")
    return RunPlan.model_validate_json(path.read_text())


def line_of_tensors(plan: RunPlan, seed: int, runs: Path, steps: int) -> dict[str, Tensor]:
    """Map `part.name` to tensors: those of the parents, overwritten by what learnt later."""
    tensors: dict[str, Tensor] = {}
    for path in plan.line(runs, seed, steps):
        tensors |= checkpoint.load(path)[0]
    depth = plan.system.stdit3.depth
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer/") and not beyond_depth(name, depth)}


def model_config(plan: RunPlan, seed: int, folder: Path, steps: int) -> ModelConfig:
    """Return architecture, frames, and what the card says of the run."""
    clips = plan.clips
    cost = json.loads((folder / "cost.json").read_text())["seeds"][str(seed)]
    start = [f"{parent.run} after {parent.step} steps" for parent in plan.parents]
    trained = {
        "run": f"{plan.run}, phase {plan.phase}",
        "seed": seed,
        "scale": plan.scale,
        "started from": ", ".join(start) or "random weights",
        "steps": f"{steps} of the paper's, {plan.optimiser(steps)} of the optimiser",
        "batch": f"{plan.training.batch_size} clips of {clips.num_frames} frames, {clips.crop} px",
        "learning rate": plan.training.learning_rate,
        "data": ", ".join(f"{corpus} {share:.3g}" for corpus, share in plan.weights.items()),
        "commit": cost["commit"],
    }
    return ModelConfig(
        system=plan.system,
        fdm="fdm" in PHASES[plan.phase].trains,
        frames=Frames(num_frames=clips.num_frames, size=clips.size, crop=clips.crop),
        trained=trained,
        metrics=metrics(folder / "metrics" / f"seed{seed}.csv", plan.start_step + steps),
    )


def metrics(path: Path, step: int) -> dict[str, float]:
    """Return the held-out metrics of a run at `step` of its line."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    return {row["metric"]: float(row["value"]) for row in rows if not row["metric"].startswith("train/")}


def save(kind: type[Model], config: ModelConfig, tensors: dict[str, Tensor], folder: Path) -> Path:
    """Save a model with its own among `tensors` as `folder`."""
    with replacing(folder) as partial:
        from_snapshot(kind, config, tensors).save_pretrained(partial)
    return folder


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a temporary folder to fill, and rename it when it is whole. Nothing that exists is overwritten."""
    if folder.exists():
        raise ValueError(f"{folder}: exists already; remove it or choose another folder")
    with renamed(folder) as partial:
        yield partial
