"""Figures 2 and 3 at another scale than that of params.yaml, in pieces of a few minutes: run by `make headline-gpu`.

Stages and their order are those of DVC's graph. DVC itself does not run, so a stage may end when the minutes are
over, with its state saved, and the next call resumes it. The workspace is build/<scale>, and its reports are
reports/<scale>. It may begin with data/clips, or data/latents too, that were made elsewhere.
Run: python -m stages.headline --scale gpu --minutes 10
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from dvc.repo import Repo
from dvc.stage import Stage

from cola_world.running.files import locked
from cola_world.running.process import die_with_parent
from cola_world.workspace.plan import Files, write
from stages.plan import resolved

LINKED = ("stages", "src", "notebooks", "data/paper", "data/weights.yaml")
PAGES = ("results", "figure2_collapse", "figure3_warmup", "index")
COSTS = "runs/cost/"
OF_THE_CODE = ("code/", "open_choices")  # plans about the code, not the dials
# Time for a stage to notice that its time is up. One that does not is killed, and resumes from what it saved.
GRACE_S = 60.0


class Step(NamedTuple):
    """A stage: its call, what it reads, and what it makes besides its cost. One that makes nothing is always called."""

    words: tuple[str, ...]
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.words)

    def begun(self, root: Path) -> Path:
        """Return the file that exists from the beginning of a stage to its good end."""
        return root / ".cola" / "headline" / f"{'_'.join(self.words)}.begun"

    def made(self, root: Path) -> bool:
        return bool(self.outs) and all((root / out).exists() for out in self.outs) and not self.begun(root).exists()


def steps(files: Files, dials: dict[str, Any]) -> list[Step]:
    """Return the stages that the figures' runs need, in the order of DVC's graph: of the planned runs, those of all
    seeds.
    """
    heavy = {name for name, row in dials["runs"].items() if row.get("seeds") == "heavy_seeds"}
    with Repo(".") as repo:
        graph, root = repo.index.graph, repo.root_dir
        outs = {relative(out.fs_path, root): stage for stage in graph for out in stage.outs}
        wanted = [outs[f"runs/{name}"] for name, content in files.items() if "phase" in content and name not in heavy]
        order = dict.fromkeys(stage for own in wanted for stage in upstream(graph, own))
        return [step_of(stage, root) for stage in order if is_planned(stage, files)]


def upstream(graph: Mapping[Stage, Iterable[Stage]], stage: Stage) -> Iterator[Stage]:
    """Yield all that the stage needs, each after what it needs itself, then the stage."""
    for needed in graph[stage]:
        yield from upstream(graph, needed)
    yield stage


def relative(path: str, root: str) -> str:
    return Path(path).relative_to(root).as_posix()


def is_planned(stage: Stage, files: Files) -> bool:
    """Return False for the plan, which is made already, and for corpora that the dials leave out."""
    stage_name, *arguments = words_of(stage)
    return stage_name != "plan" and (stage_name != "simulate" or f"simulate/{arguments[0]}" in files)


def words_of(stage: Stage) -> tuple[str, ...]:
    """`python -m stages.<name> <argument>` without its first two words."""
    _, _, module, *arguments = stage.cmd.split()
    return module.removeprefix("stages."), *arguments


def step_of(stage: Stage, root: str) -> Step:
    deps, outs = ([relative(entry.fs_path, root) for entry in entries] for entries in (stage.deps, stage.outs))
    return Step(words_of(stage), tuple(deps), tuple(out for out in outs if not out.startswith(COSTS)))


def missing(order: list[Step], root: Path) -> list[Step]:
    """Return the steps whose outputs are missing and needed: at the end of the graph, or by another missing step."""
    found: list[Step] = []
    for step in reversed(order):
        users = [other for other in order if any(within(dep, out) for dep in other.deps for out in step.outs)]
        if not step.made(root) and (not users or any(user in found for user in users)):
            found.insert(0, step)
    return found


def within(path: str, folder: str) -> bool:
    """Tell whether one of two paths lies in the other."""
    return f"{path}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{path}/")


def workspace(root: Path, dials: dict[str, Any]) -> Files:
    """Lay out `root` -> what its dials resolve to. Raises ValueError if it was begun with others."""
    for name in LINKED:
        link(root / name, Path(name))
    target = Path("reports", dials["scale"])
    target.mkdir(parents=True, exist_ok=True)
    link(root / "reports", target)
    (root / "params.yaml").write_text(yaml.safe_dump(dials, sort_keys=False))
    files = resolved(root)
    for name, content in files.items():
        path = root / "runs" / "plan" / f"{name}.json"
        changed = path.is_file() and json.loads(path.read_text()) != json.loads(json.dumps(content))
        if changed and not name.startswith(OF_THE_CODE):
            raise ValueError(f"{path}: {root} was begun with other dials; take another --root, or remove that one")
    write(files, root / "runs" / "plan")
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
    step.begun(root).parent.mkdir(parents=True, exist_ok=True)
    step.begun(root).touch()
    try:
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        status = subprocess.run(command, cwd=root, env=environment, timeout=end - time.time() + GRACE_S, check=False).returncode
    except subprocess.TimeoutExpired:
        return 1
    if status == 0:
        step.begun(root).unlink()
    return status


def go_on(root: Path, order: list[Step], end: float, reports: bool) -> str:
    """Call missing steps until the time is up -> what is left to do, as a line. Raises ValueError if a stage fails."""
    todo = missing(order, root) + [Step(("report", page)) for page in PAGES if reports]
    for number, step in enumerate(todo):
        if time.time() < end:
            if call(step, root, end) == 0:
                continue
            if time.time() < end:
                raise ValueError(f"headline: {step} failed; its own message is above")
        return f"headline: the time is up; {len(todo) - number} of {len(todo)} steps are left, {step} first; call again to go on"
    return f"headline: nothing is left to do; {root}/runs holds the runs" + (f", {root}/reports the pages" if reports else "")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="gpu")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--root", type=Path, help="the workspace (default: build/<scale>)")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of those of params.yaml")
    parser.add_argument("--no-reports", dest="reports", action="store_false", help="train only; pages may be made elsewhere")
    return parser.parse_args(words)


def headline_dials(scale: str, seeds: list[int] | None) -> dict[str, Any]:
    """Return the dials of params.yaml at another scale, without corpora for evaluation only, which neither figure
    shows.
    """
    dials = yaml.safe_load(Path("params.yaml").read_text()) | {"scale": scale}
    dials |= {"seeds": seeds} if seeds else {}
    dials["corpora"] = {name: row for name, row in dials["corpora"].items() if not row.get("evaluation_only")}
    return dials


def main(words: list[str] | None = None) -> str:
    die_with_parent()
    chosen = parse(words)
    root = chosen.root or Path("build", chosen.scale)
    with locked(root / ".cola" / "headline"):
        dials = headline_dials(chosen.scale, chosen.seeds)
        order = steps(workspace(root, dials), dials)
        return go_on(root, order, time.time() + 60 * chosen.minutes, chosen.reports)


if __name__ == "__main__":
    try:
        print(main())
    except ValueError as error:
        sys.exit(str(error))
