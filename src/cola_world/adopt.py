"""A run that is not trained but taken from public weights: `runs/pretrain` when the profile names OpenSora's STDiT3."""

import shutil
from pathlib import Path
from typing import Any

from cola_world.parameters import count_parts
from cola_world.plan import RunPlan
from cola_world.pretrained import public_stdit3
from cola_world.training import checkpoint
from cola_world.training.pool import describe, write_json
from cola_world.weights import obtain_row, verified


def write_run(plan: RunPlan, rows: dict[str, Any], out: Path, folder: Path) -> None:
    """Fill `out` as training the run would, so that its children find their parent; it has neither metrics nor cost.

    `rows` is the plan's one row of weights, `folder` where a converted file goes. WeightsError in one line.
    """
    file, path = obtain_row(rows, folder)
    public = public_stdit3(path, plan.system.stdit3)
    print(f"{path.name}: {public}")
    print(f"added, to be trained from scratch: action_adaln {count_parts(plan.system)['action_adaln']:,}")
    tensors = {f"stdit3.{name}": tensor for name, tensor in public.tensors.items()}
    shutil.rmtree(out, ignore_errors=True)
    for steps in plan.snapshots:
        target = out / "snapshots" / str(steps) / f"seed{plan.seeds[0]}.safetensors"
        checkpoint.save(tensors, target, {"phase": plan.phase, "step": steps})
    about = describe(plan, {"stdit3": sum(tensor.numel() for tensor in tensors.values())})
    weights = {key: value for key, value in verified(file, path).items() if key != "path"}
    for name, content in {"run": about | {"weights": weights}, "cost": {"run": plan.run, "seeds": {}}}.items():
        write_json(out / f"{name}.json", content)
