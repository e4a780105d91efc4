"""No claim holds of its placebos: other runs in the place of its own."""

import pandas as pd
import pytest
import worlds
from conftest import ROOT

from cola_world.reporting.claims import read_claims
from cola_world.reporting.placebo import UNUSED, in_place, trials, try_all
from cola_world.reporting.verdicts import counted

CLAIMS = read_claims(ROOT)
IDS = [claim.id for claim in CLAIMS.claims]


@pytest.fixture(scope="module")
def living(tmp_path_factory) -> pd.DataFrame:
    return counted(worlds.living(tmp_path_factory.mktemp("living")), CLAIMS.rules, "cpu")


def outcomes(claim, rows: pd.DataFrame) -> dict[str, str]:
    return {trial.label: trial.outcome for trial in trials(claim, CLAIMS.rules, rows, "cpu")}


def test_every_claim_is_reproduced_in_a_living_world(living):
    assert {tried.own.verdict for tried in try_all(CLAIMS, living, "cpu")} == {"reproduced"}


def test_a_claim_that_holds_of_a_placebo_is_not_reproduced(living):
    """Where the worse arm is not worse, to be within 3 % of the best tells nothing."""
    kept = living[~((living["run"] == "wm_lam8k") & living["metric"].str.startswith("video/"))]
    best = living[(living["run"] == "wm_lam30k") & (living["snapshot"] == 30000) & living["metric"].str.startswith("video/")]
    rows = pd.concat([kept, best.assign(run="wm_lam8k", snapshot=52000, value=1.001 * best["value"])])
    found = {tried.own.claim.id: tried.own for tried in try_all(CLAIMS, rows, "cpu")}["shorter_joint_approaches_two_stage"]
    assert (found.verdict, found.share) == ("inconclusive", 1)
    assert found.reason.endswith("but of a placebo too (wm_lam8k@52000): the test does not tell them apart.")


@pytest.mark.parametrize("claim", CLAIMS.claims, ids=IDS)
def test_no_claim_holds_of_its_placebos(claim, living):
    found = outcomes(claim, living)
    assert len(found) == len(claim.placebos) + 1 >= 2
    assert found.pop(UNUSED) == "not measurable"
    assert set(found.values()) <= {"fails", "not measurable"}


@pytest.mark.parametrize("claim", CLAIMS.claims, ids=IDS)
def test_predicates_tell_placebos_apart_by_themselves(claim, living):
    """Without the requirement that actions are used."""
    found = outcomes(claim.model_copy(update={"uses": []}), living)
    del found[UNUSED]
    assert set(found.values()) == {"fails"}


def test_in_a_dead_world_placebos_are_not_measurable_either(living):
    assert all(set(outcomes(claim, worlds.dead(living)).values()) == {"not measurable"} for claim in CLAIMS.claims)


def table(**curves: list[tuple[int, float]]) -> pd.DataFrame:
    content = [(run, step, value) for run, points in curves.items() for step, value in points]
    return pd.DataFrame(content, columns=["run", "snapshot", "value"])


def points(rows: pd.DataFrame, run: str) -> list[tuple[int, float]]:
    own = rows[rows["run"] == run].sort_values("snapshot")
    return list(zip(own["snapshot"], own["value"], strict=True))


ROWS = table(a=[(100, 1.0), (200, 2.0)], b=[(0, 3.0), (100, 4.0), (200, 5.0)])


@pytest.mark.parametrize(
    ("places", "run", "expected"),
    [
        ({"a": "b"}, "a", [(100, 3.0), (200, 4.0)]),  # from where a begins to where it ends
        ({"a": "b"}, "b", [(0, 3.0), (100, 4.0), (200, 5.0)]),
        ({"a": "b", "b": "a"}, "b", [(0, 1.0), (100, 2.0)]),
        ({"a": "b@200"}, "a", [(100, 5.0)]),  # a run of one snapshot, as if never trained further
        ({"a@200": "b@0"}, "a", [(100, 1.0), (200, 3.0)]),
        ({"a": "c"}, "a", []),
    ],
)
def test_rows_take_the_place_of_others(places, run, expected):
    assert points(in_place(ROWS, places), run) == expected
