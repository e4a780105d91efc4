"""Figures 2 and 3 at another scale than params.yaml's, in pieces of a few minutes and without DVC: run by `make headline-gpu`.

Makes a workspace of its own (build/<scale>), whose reports are this repository's reports/<scale>. Each call goes on where the one
before ended; when its minutes are over it ends by itself, with the state of what was training saved. A workspace may begin with
data/clips, or data/latents too, that were made elsewhere. Run: python -m stages.headline --scale gpu --minutes 10
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cola_world import config, plan
from cola_world.files import locked
from cola_world.lifeline import die_with_parent
from cola_world.weights import read_table

Files = dict[str, dict[str, Any]]
LINKED = ("stages", "src", "notebooks", "data/paper", "data/weights.yaml")
CLIPS, LATENTS = "data/clips/card.json", "data/latents/card.json"
PAGES = ("results", "figure2_collapse", "figure3_warmup", "index")
# What Figures 2 and 3 show, with the runs that it starts from; `e2e_from_` the points of the sweep.
RUNS = ("pretrain", "lam", "warmup", "e2e", "naive_random", "naive_pretrained_idm", "both_random")
# For a stage to notice that its time is up; one that does not is killed, and goes on from what it has saved, if it saves.
GRACE_S = 60.0


class Step(NamedTuple):
    """A stage's call, the file that it writes last (none: it is always called), and one that was made of it since."""

    words: tuple[str, ...]
    made: str = ""
    used: str = ""

    def needed(self, root: Path) -> bool:
        return not any(name and (root / name).is_file() for name in (self.made, self.used))


def steps(files: Files, reports: bool) -> Iterator[Step]:
    """In the graph's order; `files` are the plans that the dials resolve to."""
    for name in files:
        if name.startswith("simulate/"):
            corpus = name.partition("/")[2]
            yield Step(("simulate", corpus), f"data/raw/{corpus}/meta/info.json", CLIPS)
    yield Step(("manifest",), "data/manifests/manifest.parquet", CLIPS)
    yield Step(("clips",), CLIPS)
    yield Step(("vae",), "runs/vae/latent_statistics.json", LATENTS)
    yield Step(("latents",), LATENTS)
    for run, content in files.items():
        if content.get("phase") and (run in RUNS or run.startswith("e2e_from_")):
            own_stage = run in ("pretrain", "lam", "warmup")
            yield Step((run,) if own_stage else ("e2e", run), f"runs/{run}/cost.json")
    for page in PAGES if reports else ():
        yield Step(("report", page))


def workspace(root: Path, dials: dict[str, Any]) -> Files:
    """Lay out `root` -> what its dials resolve to; ValueError where it was begun with others."""
    for name in LINKED:
        link(root / name, Path(name))
    target = Path("reports", dials["scale"])
    target.mkdir(parents=True, exist_ok=True)
    link(root / "reports", target)
    (root / "params.yaml").write_text(yaml.safe_dump(dials, sort_keys=False))
    files = plan.resolve(*config.load(root), read_table(root / "data" / "weights.yaml"))
    for name, content in files.items():
        path = root / "runs" / "plan" / f"{name}.json"
        if path.is_file() and json.loads(path.read_text()) != json.loads(json.dumps(content)):
            raise ValueError(f"{path}: {root} was begun with other dials; take another --root, or remove that one")
    plan.write(files, root / "runs" / "plan")
    return files


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(os.path.relpath(target.absolute(), path.parent.absolute()))


def call(step: Step, root: Path, end: float) -> int:
    """Run the stage in the workspace -> its exit status."""
    sources = os.pathsep.join([str(Path("src").absolute()), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"COLA_UNTIL": str(end), "PYTHONPATH": sources}
    stage, *arguments = step.words
    try:
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        return subprocess.run(command, cwd=root, env=environment, timeout=end - time.time() + GRACE_S, check=False).returncode
    except subprocess.TimeoutExpired:
        return 1


def go_on(root: Path, files: Files, end: float, reports: bool) -> str:
    """Call what is missing until the time is up -> what is left to do, as a line; ValueError where a stage fails."""
    todo = [step for step in steps(files, reports) if step.needed(root)]
    for number, step in enumerate(todo):
        name = " ".join(step.words)
        if time.time() < end:
            if call(step, root, end) == 0:
                continue
            if time.time() < end:
                raise ValueError(f"headline: {name} failed; its own message is above")
        return f"headline: the time is up; {len(todo) - number} of {len(todo)} steps are left, {name} first; call again to go on"
    return f"headline: nothing is left to do; {root}/runs holds the runs" + (f", {root}/reports the pages" if reports else "")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="gpu")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--root", type=Path, help="the workspace (default: build/<scale>)")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of those of params.yaml")
    parser.add_argument("--no-reports", dest="reports", action="store_false", help="train only; pages may be made elsewhere")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> str:
    die_with_parent()
    chosen = parse(words)
    dials = yaml.safe_load(Path("params.yaml").read_text()) | {"scale": chosen.scale}
    dials |= {"seeds": chosen.seeds} if chosen.seeds else {}
    # What is for evaluation only is of neither figure.
    dials["corpora"] = {name: row for name, row in dials["corpora"].items() if not row.get("evaluation_only")}
    root = chosen.root or Path("build", chosen.scale)
    with locked(root / ".cola" / "headline"):
        files = workspace(root, dials)
        return go_on(root, files, time.time() + 60 * chosen.minutes, chosen.reports)


if __name__ == "__main__":
    try:
        print(main())
    except ValueError as error:
        sys.exit(str(error))
