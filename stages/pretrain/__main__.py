"""Pre-train STDiT3 on video alone, or take the public OpenSora weights that the profile names (paper B.2).

Reads data/clips and data/latents, writes runs/pretrain. Run: python -m stages.pretrain
"""

import json
import sys
from pathlib import Path

from cola_world.adopt import write_run
from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.weights import WeightsError
from stages.run import main

if __name__ == "__main__":
    plan = json.loads(Path("runs/plan/pretrain.json").read_text())
    if "weights" not in plan:
        main("pretrain")
        sys.exit()
    die_with_parent()
    rows = plan.pop("weights")
    try:
        write_run(RunPlan.model_validate(plan), rows, Path("runs/pretrain"), Path("data/weights"))
    except WeightsError as error:
        sys.exit(str(error))
