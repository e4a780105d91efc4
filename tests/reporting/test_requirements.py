"""A claim about latent actions has no verdict where they are not used, whichever way its numbers fall."""

import pandas as pd
import pytest
import worlds
from conftest import ROOT

from cola_world.reporting.claims import read_claims
from cola_world.reporting.verdicts import Judgement, counted, judge

CLAIMS = read_claims(ROOT)


@pytest.fixture(scope="module")
def living(tmp_path_factory) -> pd.DataFrame:
    return counted(worlds.living(tmp_path_factory.mktemp("living")), CLAIMS.rules, "cpu")


def verdicts(rows: pd.DataFrame) -> dict[str, str]:
    return {claim.id: judge(claim, CLAIMS.rules, rows, "cpu").verdict for claim in CLAIMS.claims}


def judged(rows: pd.DataFrame, claim: str) -> Judgement:
    return next(judge(each, CLAIMS.rules, rows, "cpu") for each in CLAIMS.claims if each.id == claim)


def reason(rows: pd.DataFrame, claim: str) -> str:
    return judged(rows, claim).reason


def test_a_stand_in_judges_no_claim_of_the_public_metric_at_the_papers_scale(tmp_path):
    rows = worlds.living(tmp_path).assign(scale="paper")
    kept = set(counted(rows, CLAIMS.rules, "paper")["metric"])
    assert "video/psnr" in kept and not [name for name in kept if "_sim" in name] and any("_sim" in name for name in rows["metric"])
    fvd = next(claim for claim in CLAIMS.claims if claim.predicate.lead)
    assert judge(fvd, CLAIMS.rules, counted(rows, CLAIMS.rules, "paper"), "paper").verdict == "not run"


def test_every_claim_names_runs_whose_actions_must_be_used():
    assert not [claim.id for claim in CLAIMS.claims if not claim.uses]


def test_claims_are_judged_in_a_living_world(living):
    assert set(verdicts(living).values()) <= {"reproduced"}, verdicts(living)


def test_nothing_is_measurable_in_a_dead_world(living):
    assert set(verdicts(worlds.dead(living)).values()) == {"not measurable"}
    assert "interval of its pixel_gap includes 0 in 4 of 4 seeds, from -0.001 to 0.001" in reason(worlds.dead(living), "lam_is_healthy")


def test_nothing_is_measurable_without_intervals(living):
    rows = worlds.without_intervals(living)
    assert set(verdicts(rows).values()) == {"not measurable"}
    assert reason(rows, "e2e_stays_healthy").startswith("No interval in the rows: pixel_gap_low of lam would tell")


def test_a_dead_run_takes_the_verdict_from_the_claims_that_name_it_alone(living):
    found = verdicts(worlds.dead(living, "depth_6"))
    assert {name for name, verdict in found.items() if verdict == "not measurable"} == {"larger_world_models_teach_better"}


def test_a_quarter_of_the_seeds_may_be_dead(living):
    for seeds, verdict in (([1], "reproduced"), ([1, 2], "not measurable")):
        rows = pd.concat([living[~living["seed"].isin(seeds)], worlds.dead(living[living["seed"].isin(seeds)])])
        assert judged(rows, "warmup_raises_health").verdict == verdict


def test_the_gap_counts_at_the_snapshot_of_the_claim(living):
    """A model that begins to listen at 40000 steps says nothing about what it did at 38000."""
    late = (living["run"] == "e2e_long") & (living["snapshot"] <= 38000)
    rows = pd.concat([living[~late], worlds.dead(living[late])])
    assert judged(rows, "joint_outperforms_short_lam").verdict == "not measurable"
    assert judged(rows, "joint_matches_two_stage").verdict == "reproduced"


def test_a_latent_action_model_must_beat_the_arm_without_actions(living):
    lam = (living["run"] == "lam") & (living["metric"] == "pixel_mse")
    no_better = living.assign(value=living["value"].where(~lam, living["value"] + 0.2))
    assert "save no pixel error: -0.1" in reason(no_better, "lam_is_healthy")
    alone = living[living["run"] != "fdm_without_actions"]
    assert "no rows of fdm_without_actions" in reason(alone, "lam_is_healthy")


def test_probes_that_read_nothing_are_not_compared(living):
    blind = living["metric"] == "probe/l1_median"
    for corpora, verdict in ((["sawyer", "fetch"], "reproduced"), (["sawyer", "fetch", "pusher"], "not measurable")):
        rows = living.assign(value=living["value"].where(~(blind & living["corpus"].isin(corpora)), 0.01))
        assert judged(rows, "joint_probes_better").verdict == verdict
    assert "on 3 of 6 data sets" in reason(rows, "joint_probes_better")
