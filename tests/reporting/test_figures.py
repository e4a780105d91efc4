"""Figures are pure: equal rows give equal bytes, and rows that are not there give a figure all the same."""

import pytest
import synthetic

from cola_world.reporting import architecture, figures, results
from cola_world.training.phases import PHASES


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = tmp_path_factory.mktemp("figures")
    synthetic.write_all(root, [1, 2, 3], log_every=10000)
    results.collect(root)
    return results.read_rows(root)


@pytest.mark.parametrize("draw", [figures.collapse, figures.warmup])
def test_equal_rows_give_equal_bytes(rows, draw):
    for kind in ("svg", "png"):
        assert figures.image(draw(rows), kind) == figures.image(draw(rows), kind)


def test_architecture_is_pure():
    first, second = (figures.image(architecture.architecture(PHASES, synthetic.MODULES), "svg") for _ in range(2))
    assert first == second


def test_forks_are_ordered_by_their_warmup_and_darken(rows):
    lines = figures.fork_lines(rows)
    assert [line.run for line in lines] == ["e2e_from_1000", "e2e_from_2000", "e2e_from_4000", "e2e"]
    brightness = [sum(line.color) for line in lines]
    assert brightness == sorted(brightness, reverse=True)


@pytest.mark.parametrize("draw", [figures.collapse, figures.warmup])
def test_runs_may_be_missing(rows, draw):
    assert draw(rows[rows["run"] == "naive_random"]).axes
    assert draw(rows[rows["run"] == "pretrain"]).axes


def test_the_dashed_line_is_the_end_of_the_pretrained_idm(rows):
    panel = figures.collapse(rows).axes[0]
    level = results.finals(rows, "lam", "codebook/utilization").mean()
    assert any(set(line.get_ydata()) == {level} for line in panel.lines)


def test_phase_rows_say_who_learns():
    table = {row["phase"]: row for row in architecture.phase_rows(PHASES)}
    assert table["warmup"]["STDiT3"] == "frozen"
    assert table["e2e"]["STDiT3"] == table["e2e"]["IDM"] == "trained"
    assert table["lam"]["STDiT3"] == table["pretrain"]["IDM"] == "–"
    assert table["wm"]["VQ codebook"] == "frozen"
