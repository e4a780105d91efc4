"""A stage's code is told by what it does: words about it do not count, and nothing that it imports is forgotten."""

import subprocess
import sys

import pytest
from conftest import ROOT

from cola_world.running import code
from cola_world.running.code import code_of

STAGE = '''"""A stage."""

from cola_world.models.flow import shift_timesteps


def work(x):
    """Shift it."""
    return shift_timesteps(x, 2.0)  # twice
'''


@pytest.fixture
def fingerprint(tmp_path):
    """Of a module's text, by a file of its own, so that nothing is kept from one text to the next."""

    def taken(text: str) -> str:
        path = tmp_path / f"module{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return code.fingerprint(path)

    return taken


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# twice", "# two times"),
        ('"""Shift it."""', '"""Move it towards noise."""'),
        ('"""A stage."""\n\n', ""),
        ("(x, 2.0)", "(\n        x, 2.0\n    )"),
    ],
    ids=["comment", "docstring", "module docstring", "layout"],
)
def test_words_and_layout_change_nothing(fingerprint, old, new):
    assert fingerprint(STAGE) == fingerprint(STAGE.replace(old, new))


@pytest.mark.parametrize(("old", "new"), [("2.0", "2.5"), ("def work", "def other"), ("return shift", 'return "Shift it."\n    shift')])
def test_code_changes_it(fingerprint, old, new):
    assert fingerprint(STAGE) != fingerprint(STAGE.replace(old, new))


def test_what_is_imported_counts_and_what_changes_no_result_does_not(tmp_path):
    (tmp_path / "stages").mkdir()
    stage = tmp_path / "stages" / "work.py"
    stage.write_text(STAGE + "\n\ndef later():\n    from cola_world.running.progress import Bar\n\n    import torch\n")
    assert set(code_of(stage, root=tmp_path)) == {"cola_world/models/config.py", "cola_world/models/flow.py", "stages/work.py"}


def test_templates_that_a_module_names_count():
    found = code_of(ROOT / "stages" / "report.py", root=ROOT)
    assert {"cola_world/reporting/templates/style.css", "cola_world/reporting/templates/page.html.j2"} <= set(found)


def test_modules_that_are_imported_by_name_count():
    found = code_of(ROOT / "stages" / "simulate.py", root=ROOT)
    assert {"cola_world/data/simulators/hand.py", "cola_world/data/simulators/scene.py"} <= set(found)


MODULES = {f"stages.{stage}": f"stages/{stage}.py" for stage in ("clips", "encoder", "evaluate", "latents", "probe", "vae")}
MODULES["cola_world.training.run"] = "src/cola_world/training/run.py"


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_is_loaded_is_among_the_code(module):
    """What Python itself loads, held against what was read from the source."""
    listing = "import sys; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('cola_world') and m.__file__))"
    call = [sys.executable, "-c", f"import {module}; {listing}"]
    loaded = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = {name.split("/src/")[1] for name in loaded if not name.endswith("__init__.py")}
    missing = names - set(code_of(ROOT / MODULES[module], root=ROOT))
    assert names and not [name for name in missing if not name.startswith(code.WITHOUT_EFFECT)]
