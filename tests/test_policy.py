"""Rules that the repository keeps about itself."""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from dvc.repo import Repo

from cola_world.data.corpora import CorpusConfig
from cola_world.running.code import names_in
from cola_world.workspace.params import Params, Run

PACKAGE = Path("src/cola_world")
# A room may import those before it, and never one after it.
ROOMS = (
    "running", "models", "data", "weights", "metrics", "training", "evaluation", "workspace",
    "inference", "doctor", "reporting", "cli",
)  # fmt: skip
LINES, FUNCTION_LINES = 250, 40
# In two parts, so that this file keeps the rules as well.
HOSTS = ("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "deb.debian" + ".org", "download.pytorch" + ".org")
PATHS = ("/wo" + "rk/", "/fa" + "rm/", "/ro" + "ot/", "/ho" + "me/", "/tm" + "p/")


@pytest.fixture(scope="module")
def stages():
    """Every stage of every dvc.yaml, as DVC resolves it."""
    with Repo(str(ROOT)) as repo:
        return list(repo.index.stages)


def relative(stage, entry) -> str:
    return entry.fs_path.removeprefix(f"{ROOT}/")


def read(name) -> str:
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return ""


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def test_files_and_functions_are_short(files):
    for name in (f for f in files if f.suffix == ".py"):
        text = read(name)
        assert text.count("\n") <= LINES, f"{name} has more than {LINES} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= FUNCTION_LINES, f"{name}:{node.lineno} {node.name} has {length} lines"


def test_no_room_imports_a_higher_one(files):
    for name in (f for f in files if f.suffix == ".py" and f.is_relative_to(PACKAGE)):
        room = name.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for module in names_in(ast.parse(read(name)), list(name.relative_to("src").parent.parts)):
            other = (module.split(".") + [""])[1]
            if module.startswith("cola_world.") and other in ROOMS:
                assert ROOMS.index(other) <= ROOMS.index(room), f"{name} imports {module}, which is in a higher room"


def test_every_file_is_in_a_room(files):
    found = {f.relative_to(PACKAGE).parts[0].removesuffix(".py") for f in files if f.suffix == ".py" and f.is_relative_to(PACKAGE)}
    assert found == {*ROOMS, "__init__"}


def test_notebooks_hold_no_outputs(files):
    for name in (f for f in files if f.suffix == ".ipynb"):
        for cell in json.loads(read(name))["cells"]:
            assert not cell.get("outputs"), f"{name} holds outputs"
            assert cell.get("execution_count") is None, f"{name} holds an execution count"


@pytest.mark.parametrize("words", [HOSTS, PATHS], ids=["registry hosts", "machine paths"])
def test_no_file_names(files, words):
    pattern = re.compile(r"(?<![\w.])(" + "|".join(map(re.escape, words)) + ")")
    found = [f"{name}: {match[0]}" for name in files for match in [pattern.search(read(name))] if match]
    assert not found


def test_every_dependency_exists_or_is_produced(stages, files):
    outs = {relative(stage, out) for stage in stages for out in stage.outs}
    for stage in stages:
        for dep in (relative(stage, dep) for dep in stage.deps):
            known = any(within(dep, out) or within(out, dep) for out in outs) or any(within(str(f), dep) for f in files)
            assert known, f"{stage.addressing}: {dep} neither exists nor is produced"


def test_stages_depend_on_their_code_by_its_fingerprint(stages):
    """Only the plan reads source files; a stage that depended on one would run again for a comment."""
    for stage in stages:
        deps, module = {relative(stage, dep) for dep in stage.deps}, stage.cmd.split()[2].removeprefix("stages.")
        if stage.name == "plan":
            assert {"src/cola_world", "stages", "notebooks"} <= deps
        elif stage.name != "results":  # which are gathered anew whenever a run is
            assert f"runs/plan/code/{module}.json" in deps, f"{stage.addressing} does not depend on its code"
            assert not [dep for dep in deps if dep.startswith(("src", "stages"))]


def test_every_stage_says_what_it_is_for(stages):
    assert not [stage.addressing for stage in stages if not stage.desc]


def test_every_run_of_the_table_is_a_stage(stages):
    params = yaml.safe_load(read("params.yaml"))
    outs = {relative(stage, out) for stage in stages for out in stage.outs}
    wanted = [*params["runs"], *(f"e2e_from_{steps}" for steps in params["warmup_sweep"])]
    assert not [run for run in wanted if f"runs/{run}" not in outs]


def test_runs_depend_on_the_snapshots_that_they_start_from(stages):
    params = yaml.safe_load(read("params.yaml"))
    deps = {out: [relative(stage, dep) for dep in stage.deps] for stage in stages for out in (relative(stage, o) for o in stage.outs)}
    for name, row in params["runs"].items():
        parents = {parent.partition("@")[0] for parent in row.get("parents", [])}
        assert {dep.split("/")[1] for dep in deps[f"runs/{name}"] if "/snapshots" in dep} == parents, f"pipelines/training: {name}"


@pytest.mark.parametrize("model", [Params, CorpusConfig, Run])
def test_every_parameter_is_used(files, model):
    code = "\n".join(read(f) for f in files if f.suffix == ".py" and f.parts[0] in ("src", "stages"))
    pipelines = "\n".join(read(f) for f in files if f.name == "dvc.yaml")
    for field in model.model_fields:
        used = re.search(rf"\.{field}\b", code) or f"${{{field}}}" in pipelines
        assert used, f"{model.__name__}.{field} is read but never used"


def test_lock_holds_all_pins_with_hashes_and_no_torch():
    lock = read("requirements.lock")
    for pin in re.findall(r"^[\w.-]+==\S+", read("requirements.in"), re.MULTILINE):
        assert re.search(rf"^{re.escape(pin.replace('_', '-'))} ", lock, re.MULTILINE), f"requirements.lock lacks {pin}: call make lock"
    for block in re.split(r"\n(?=[a-z])", lock.strip()):
        name = block.split("==")[0]
        assert "--hash=sha256:" in block, f"{name} has no hash"
        assert not re.match(r"(torch|triton|nvidia-.*|cuda-.*)$", name), f"{name} differs by machine"


def test_imported_packages_are_declared(files):
    project = tomllib.loads(read("pyproject.toml"))["project"]
    words = [*project["dependencies"], *project["optional-dependencies"]["pipeline"], *project["optional-dependencies"]["test"]]
    declared = {re.split(r"[<>=]", word)[0].lower().replace("_", "-") for word in words}
    distributions = packages_distributions()
    for name in (f for f in files if f.suffix == ".py" and f.parts[0] in ("src", "stages")):
        for node in ast.walk(ast.parse(read(name))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"cola_world", "stages"}:
                wanted = {d.lower().replace("_", "-") for d in distributions.get(top, [top])}
                assert wanted & (declared), f"{name} imports {top}, which pyproject.toml does not name"
