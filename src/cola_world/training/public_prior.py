"""Take a run from public weights instead of training it: `runs/pretrain` if the profile names OpenSora's STDiT3."""

import shutil

from cola_world.models.system import count_parts
from cola_world.running.files import write_json
from cola_world.running.folders import Folders
from cola_world.training import checkpoint
from cola_world.training.plan import RunPlan
from cola_world.weights.public import obtain_row, verified
from cola_world.weights.stdit3 import public_stdit3


def take_public(plan: RunPlan, folders: Folders) -> None:
    """Fill the run's folder as training would, without metrics and cost, so that its children find their parent.

    Raises WeightsError in one line.
    """
    file, path = obtain_row(plan.public, folders.weights)
    public = public_stdit3(path, plan.system.stdit3)
    print(f"{path.name}: {public}")
    print(f"added, to be trained from scratch: action_adaln {count_parts(plan.system)['action_adaln']:,}")
    tensors = {f"stdit3.{name}": tensor for name, tensor in public.tensors.items()}
    out = folders.runs / plan.run
    shutil.rmtree(out, ignore_errors=True)
    for steps in plan.snapshots:
        target = out / "snapshots" / str(steps) / f"seed{plan.seeds[0]}.safetensors"
        checkpoint.save(tensors, target, {"phase": plan.phase, "step": steps})
    about = plan.described({"stdit3": sum(tensor.numel() for tensor in tensors.values())})
    weights = {key: value for key, value in verified(file, path).items() if key != "path"}
    write_json(out / "run.json", about | {"weights": weights})
    write_json(out / "cost.json", {"run": plan.run, "seeds": {}})
