"""Rules that the repository keeps about itself."""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from closure import closure, names_in, source_of
from conftest import ROOT
from dvc.repo import Repo

from cola_world.config import Corpus, Params, Run

# Ending with its parent or in time, showing progress and counting cost change nothing of what a stage makes.
HELPERS = ("lifeline", "progress", "files", "cost", "deadline", "flops", "side_by_side")
WITHOUT_EFFECT = {f"src/cola_world/{name}.py" for name in HELPERS} | {"stages/cost.py", "stages/__init__.py"}
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
        assert text.count("\n") <= 400, f"{name} has more than 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{name}:{node.lineno} {node.name} has {length} lines"


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


def imported_by_notebooks(files) -> set[str]:
    """Files that any notebook imports; what they import in turn is their own affair: notebooks show, and compute nothing."""
    cells = [cell for name in files if name.suffix == ".ipynb" for cell in json.loads(read(name))["cells"]]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return {str(source.relative_to(ROOT)) for name in names_in(ast.parse(code), []) for source in [source_of(name, ROOT)] if source}


def test_stages_depend_on_the_code_they_import(stages, files):
    for stage in stages:
        module = stage.cmd.split()[2].split(".")
        needed = {str(f) for f in closure(ROOT.joinpath(*module, "__main__.py"), ROOT)}
        if stage.name.startswith("page@"):
            needed |= imported_by_notebooks(files)
        named = {d for d in (relative(stage, dep) for dep in stage.deps) if d.startswith(("src/", "stages/"))} - {"stages/profiles"}
        missing = [n for n in sorted(needed - WITHOUT_EFFECT) if not any(within(n, d) for d in named)]
        assert not missing, f"{stage.addressing} imports but does not depend on {missing}"
        idle = [d for d in sorted(named) if not any(within(n, d) for n in needed)]
        assert not idle, f"{stage.addressing} depends on but does not import {idle}"


def test_every_stage_says_what_it_is_for(stages):
    assert not [stage.addressing for stage in stages if not stage.desc]


def test_every_run_of_the_table_is_a_stage(stages):
    params = yaml.safe_load(read("params.yaml"))
    outs = {relative(stage, out) for stage in stages for out in stage.outs}
    wanted = [*params["runs"], *(f"e2e_from_{steps}" for steps in params["warmup_sweep"])]
    assert not [run for run in wanted if f"runs/{run}" not in outs]


def test_what_is_evaluated_is_made_before(stages):
    """The stage names every run that `evaluate` names, and the parents whose parts these may have."""
    params = yaml.safe_load(read("params.yaml"))
    [stage] = [stage for stage in stages if stage.name == "evaluate"]
    deps = [relative(stage, dep) for dep in stage.deps]
    runs = set(params["evaluate"]) | {parent.partition("@")[0] for run in params["evaluate"] for parent in params["runs"][run]["parents"]}
    assert runs == {dep.split("/")[1] for dep in deps if "/snapshots" in dep}


@pytest.mark.parametrize("model", [Params, Corpus, Run])
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
