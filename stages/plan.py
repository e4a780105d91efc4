"""Check params.yaml and the scale's profile, and resolve them into one plan a step, with the code behind each stage: runs/plan.

Run: python -m stages.plan (seconds at every scale).
"""

import json
from pathlib import Path

from cola_world.running.code import code_of, imported_files
from cola_world.weights.public import read_table
from cola_world.workspace.open_choices import open_choices
from cola_world.workspace.plan import Files, resolve, write
from cola_world.workspace.profile import load
from stages.entry import HERE, working

ROOT = Path(".")


def resolved(root: Path) -> Files:
    """Map file stems below runs/plan to contents, for the workspace `root`."""
    choices = {"choices": [choice._asdict() for choice in open_choices(root)]}
    return resolve(*load(root), read_table(root / "data" / "weights.yaml")) | {"open_choices": choices} | code(root)


def code(root: Path) -> Files:
    """Map each stage to the code that it runs, file by file. Pages run that of their notebooks too."""
    cells = [cell for path in sorted((root / "notebooks").glob("*.ipynb")) for cell in json.loads(path.read_text())["cells"]]
    shown = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    more = {"report": imported_files(shown, root)}
    stages = sorted((root / "stages").glob("*.py"))
    return {f"code/{path.stem}": code_of(path, *more.get(path.stem, []), root=root) for path in stages}


if __name__ == "__main__":
    with working("plan"):
        write(resolved(ROOT), HERE.plans)
