"""A finished run as folders that load in one line: `lam`, `world_model`, and the `vae` that belongs to it."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from cola_world.hub import ActionWorldModel, Frames, LatentActionModel, Model, ModelConfig, filled
from cola_world.plan import RunPlan
from cola_world.training import checkpoint
from cola_world.training.phases import PHASES


def export(run: str, seed: int, to: Path, root: Path, steps: int | None = None) -> list[Path]:
    """Write what `run` has below `to`, from its snapshot after `steps` paper steps (default: the last) -> the folders.

    `root` is the workspace with runs/. ValueError in one line when there is no such run, seed or snapshot.
    """
    plan = read_plan(run, root)
    if not PHASES[plan.phase].uses_actions:
        raise ValueError(f"{run}: it is trained on video alone and has no latent actions to export; choose a run of another phase")
    steps = plan.steps if steps is None else steps
    if steps not in plan.snapshots:
        raise ValueError(f"{run}: no snapshot after {steps} steps; it has {', '.join(map(str, plan.snapshots))}")
    tensors = line_of_tensors(plan, seed, root / "runs", steps)
    config = model_config(plan, seed, root, steps)
    made = [save(LatentActionModel, config, tensors, to / "lam")]
    if any(name.startswith("action_adaln.") for name in tensors):
        made.append(save(ActionWorldModel, config, tensors, to / "world_model"))
        with replacing(to / "vae") as partial:
            shutil.copytree(root / "runs" / "vae", partial)
        made.append(to / "vae")
    return made


def read_plan(run: str, root: Path) -> RunPlan:
    path = root / "runs" / "plan" / f"{run}.json"
    known = sorted(file.parent.name for file in (root / "runs").glob("*/run.json"))
    if run not in known or not path.is_file():
        raise ValueError(f"{run}: no finished run of this name below {root / 'runs'}; there are: {', '.join(known) or 'none'}")
    values = json.loads(path.read_text())
    values.pop("weights", None)
    return RunPlan.model_validate(values)


def line_of_tensors(plan: RunPlan, seed: int, runs: Path, steps: int) -> dict[str, Tensor]:
    """`part.name` -> tensor: the parents' parts, each overwritten by those that learnt after it."""
    own = runs / plan.run / "snapshots" / str(steps) / f"seed{seed}.safetensors"
    tensors: dict[str, Tensor] = {}
    for path in (*(parent.path(runs, seed) for parent in plan.parents), own):
        tensors |= checkpoint.load(path)[0]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer/")}


def model_config(plan: RunPlan, seed: int, root: Path, steps: int) -> ModelConfig:
    """Architecture, frames and what the card tells of the run."""
    plans = root / "runs" / "plan"
    size, crop = (json.loads((plans / f"{name}.json").read_text())[key] for name, key in (("clips", "size"), ("latents", "crop")))
    cost = json.loads((root / "runs" / plan.run / "cost.json").read_text())["seeds"][str(seed)]
    start = [f"{parent.run} after {parent.step} steps" for parent in plan.parents]
    trained = {
        "run": f"{plan.run}, phase {plan.phase}",
        "seed": seed,
        "scale": plan.scale,
        "started from": ", ".join(start) or "random weights",
        "steps": f"{steps} of the paper's, {plan.optimiser(steps)} of the optimiser",
        "batch": f"{plan.training.batch_size} clips of {plan.batches.num_frames} frames, {crop} px",
        "learning rate": plan.training.learning_rate,
        "data": ", ".join(f"{corpus} {share:.3g}" for corpus, share in plan.batches.weights.items()),
        "commit": cost["commit"],
    }
    return ModelConfig(
        system=plan.system,
        fdm="fdm" in PHASES[plan.phase].trains,
        frames=Frames(num_frames=plan.batches.num_frames, size=size, crop=crop),
        trained=trained,
        metrics=metrics(root / "runs" / plan.run / "metrics" / f"seed{seed}.csv", plan.start_step + steps),
    )


def metrics(path: Path, step: int) -> dict[str, float]:
    """Held-out metrics of a run that were measured at `step` of its line."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    return {row["metric"]: float(row["value"]) for row in rows if not row["metric"].startswith("train/")}


def save(kind: type[Model], config: ModelConfig, tensors: dict[str, Tensor], folder: Path) -> Path:
    """The model's own tensors among `tensors`, saved as `folder`."""
    with replacing(folder) as partial:
        filled(kind, config, tensors).save_pretrained(partial)
    return folder


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A folder to fill under a temporary name, renamed when it is whole; nothing that exists is overwritten."""
    if folder.exists():
        raise ValueError(f"{folder}: exists already; remove it or choose another folder")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
