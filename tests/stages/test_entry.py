"""What every stage does before its work: a plan that is missing or wrong is one clear line."""

import pytest

from cola_world.data.simulate import Simulation, SimulationPlan
from stages.entry import read_arguments, read_plan

PLAN = SimulationPlan(corpus="bodies", environment="bodies", simulation=Simulation(episodes=4, frames=8, size=32))


@pytest.fixture
def plans(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "plan" / "simulate"
    folder.mkdir(parents=True)
    return folder


def test_a_plan_is_read_as_it_was_written(plans):
    (plans / "bodies.json").write_text(PLAN.model_dump_json())
    assert read_plan(SimulationPlan, "simulate/bodies") == PLAN
    assert read_arguments("simulate/bodies")["corpus"] == "bodies"


def test_a_wrong_plan_names_file_field_and_value(plans):
    (plans / "bodies.json").write_text(PLAN.model_dump_json().replace('"episodes":4', '"episodes":0'))
    with pytest.raises(ValueError, match=r"simulate/bodies.json: simulation.episodes: .*greater than or equal to 2.*got 0"):
        read_plan(SimulationPlan, "simulate/bodies")


def test_a_missing_plan_says_what_makes_it(plans):
    with pytest.raises(ValueError, match=r"runs/plan/simulate/hand.json: there is no such plan; run `dvc repro plan` first"):
        read_plan(SimulationPlan, "simulate/hand")
