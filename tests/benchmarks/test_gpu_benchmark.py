"""The GPU's benchmark at smoke scale on a CPU: the same code, tiny sizes, and lines that are there as soon as they are known."""

import itertools
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from benchmarks.gpu import Page
from benchmarks.steps import gaps


def table(text: str, heading: str) -> list[list[str]]:
    """Cells of the rows below the heading of a table."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(heading)) + 2
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[begin:])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.slow
def test_all_its_lines_at_smoke_scale(tmp_path):
    out = tmp_path / "made" / "gpu.md"
    words = ["--scale", "smoke", "--backend", "eager", "--most-clips", "3", "--kernel-clips", "2", "--seconds", "0.01"]
    command = [sys.executable, "-m", "benchmarks.gpu", *words, "--line-seconds", "1", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = out.read_text()
    assert f"Made by `python -m benchmarks.gpu {' '.join(words)}" in text and "`smoke`" in text
    layers = table(text, "| layer |")
    sides = ("within frames", "along time")
    assert [row[0] for row in layers] == [f"{part}, {side}" for part in ("world model", "IDM") for side in sides]
    assert layers[0][1] == "6 x 2 x 4 x 8" and layers[1][1] == "8 x 2 x 3 x 8"
    assert all(row[-1] in ("flash", "efficient", "cudnn", "math", "plain") for row in layers)
    steps = table(text, "| step |")
    assert [row[:2] for row in steps] == [[f"{phase}{how}", "3"] for phase in ("e2e", "warmup") for how in ("", ", encoding")]
    assert all(float(row[2]) > 0 and float(row[8]) > 0 and float(row[10]) > 0 for row in steps)


def test_a_page_has_every_line_as_soon_as_it_is_known(tmp_path):
    page = Page(tmp_path / "build" / "page.md")
    page.add("one")
    assert page.path.read_text() == "one\n"
    page.add("two")
    assert page.path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("spans", "share"),
    [([(0, 4)], 0.0), ([(0, 1), (3, 4)], 0.5), ([(3, 4), (0, 3)], 0.0), ([(0, 3), (1, 2), (2, 4), (6, 8)], 0.25)],
)
def test_gaps_are_what_no_span_covers(spans, share):
    assert gaps(spans) == pytest.approx(share)
