"""A change of the code touches the stages that it is part of, and words about it touch none."""

import shutil

import pytest
from conftest import ROOT

from cola_world.running import code
from stages import plan


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A copy of the library, the stages and the notebooks."""
    for name in ("src/cola_world", "stages", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "SOURCES", tmp_path / "src")
    return tmp_path


def taken(root) -> dict[str, dict[str, str]]:
    """The code of every stage, read anew."""
    for function in (code.parsed, code.fingerprint, code.imports, code.source_of):
        function.cache_clear()
    return plan.code(root)


PROBED = {"probe", "ceilings"}
MEASURED = {"evaluate", *PROBED}
TRAINED = {"train", *MEASURED}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "touched"),
    [
        ("models/idm.py", "class IDM(nn.Module):\n", "class IDM(nn.Module):\n    # A comment.\n", set()),
        ("training/loop.py", '"""', '"""Now: ', set()),
        ("running/progress.py", "LINE_EVERY_S = 10.0", "LINE_EVERY_S = 20.0", set()),
        ("training/flops.py", "REPEATS = 9", "REPEATS = 5", set()),
        ("models/idm.py", "width**0.5", "width**0.25", TRAINED),
        ("evaluation/pixels.py", "STILL = 1 / 255", "STILL = 2 / 255", PROBED),
        ("evaluation/supervised.py", "BATCH, LEARNING_RATE = 16", "BATCH, LEARNING_RATE = 8", {"ceilings"}),
        ("training/objective.py", ".mean()", ".sum()", {"train", "evaluate", "probe"}),
        ("training/vae.py", "KL_WEIGHT, SEED = 1e-4, 0", "KL_WEIGHT, SEED = 1e-3, 0", {"vae"}),
        ("metrics/intervals.py", "LEVEL, SEED = 0.95, 0", "LEVEL, SEED = 0.95, 1", TRAINED),
        ("evaluation/probing.py", "LOW, HIGH = 0.01", "LOW, HIGH = 0.02", PROBED),
        ("data/simulators/hand.py", "import mujoco\n", "import mujoco\n\nFASTER = True\n", {"simulate"}),
        ("reporting/html.py", 'class="wide"', 'class="wider"', {"report"}),
        ("reporting/templates/style.css", "{", "{ ", {"report"}),
        ("workspace/runs.py", "0.5 / len(general)", "0.25 / len(general)", set()),
    ],
)
def test_a_change_touches_the_stages_that_it_is_part_of(here, file, old, new, touched):
    before, path = taken(here), here / "src/cola_world" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    after = taken(here)
    own = {"plan", "headline", "repro", "compare"}  # no stages of the graph, or the one that writes this
    changed = {name.removeprefix("code/") for name in before if before[name] != after[name]} - own
    assert changed == touched
