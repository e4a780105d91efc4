"""Verdicts at their edges, and what the vocabulary refuses."""

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from cola_world.reporting.claims import CLAIMS, Claim, Claims, read_claims
from cola_world.reporting.curves import moment, rank_correlation
from cola_world.reporting.placebo import try_all
from cola_world.reporting.verdicts import judge

ENTROPY = "codebook/entropy_normalized"
RULES = read_claims(ROOT).rules


def rows(curves: dict[str, dict[int, list[float]]], metric: str = ENTROPY, scale: str = "cpu", starts: dict | None = None):
    """`curves`: run -> seed -> values at steps 0, 100, 200 …, moved by the run's start."""
    content = [
        (run, (starts or {}).get(run, 0) + 100 * index, seed, scale, metric, value)
        for run, seeds in curves.items()
        for seed, values in seeds.items()
        for index, value in enumerate(values)
    ]
    return pd.DataFrame(content, columns=["run", "snapshot", "seed", "scale", "metric", "value"])


def claim(**predicate) -> Claim:
    return Claim(id="c", page="p", statement="s", paper="3.2", thresholds="ours", predicate=predicate)


def above(value: float, **relative) -> Claim:
    condition = {"metric": ENTROPY, "at": "end", "op": ">=", "value": value}
    if relative:
        condition["relative_to"] = relative
    return claim(compare={"run": "a", "all_of": [condition]})


TREND = claim(trend={"runs": ["e2e", "e2e_from_*"], "metric": ENTROPY, "minimum_rank_correlation": 0.8})


def verdict(claim: Claim, table: pd.DataFrame, scale: str = "cpu") -> str:
    return judge(claim, RULES, table, scale).verdict


def ends(*values: float) -> dict[int, list[float]]:
    return {seed: [0.5, value] for seed, value in enumerate(values, start=1)}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.9, 0.9), "reproduced"),
        ((0.9, 0.9, 0.9, 0.1), "reproduced"),  # exactly 0.75
        ((0.9, 0.9, 0.1, 0.1), "inconclusive"),
        ((0.9, 0.1, 0.1, 0.1), "contradicted"),  # exactly 0.25
        ((0.1, 0.1, 0.1, 0.1), "contradicted"),
        ((0.9, 0.9, 0.1), "inconclusive"),
        ((0.9, 0.9), "inconclusive"),  # two seeds give no verdict
        ((0.1,), "inconclusive"),
    ],
)
def test_share_of_seeds_decides(values, expected):
    assert verdict(above(0.5), rows({"a": ends(*values)})) == expected


def test_a_value_at_the_limit_counts():
    assert judge(above(0.5), RULES, rows({"a": ends(0.5, 0.5, 0.5)}), "cpu").share == 1


def test_missing_runs_are_not_run():
    assert verdict(above(0.5), rows({"b": ends(0.9, 0.9, 0.9)})) == "not run"
    found = judge(above(0.7, run="b", at="end"), RULES, rows({"a": ends(0.9, 0.9, 0.9)}), "cpu")
    assert (found.verdict, found.share) == ("not run", None)
    assert "b" in found.reason


def test_a_missing_metric_is_not_run():
    assert verdict(above(0.5), rows({"a": ends(0.9, 0.9, 0.9)}, metric="flow_loss")) == "not run"


def test_reference_is_of_the_same_seed_and_only_common_seeds_count():
    table = rows({"a": ends(0.7, 0.35, 0.9, 0.9), "b": {1: [1.0], 2: [0.5], 3: [2.0]}})
    found = judge(above(0.7, run="b", at="end"), RULES, table, "cpu")
    assert [(outcome.seed, outcome.holds) for outcome in found.outcomes] == [(1, True), (2, True), (3, False)]


def test_search_seeds_and_other_scales_do_not_count():
    table = pd.concat([rows({"a": {0: [0.9], **ends(0.9, 0.9)}}), rows({"a": ends(0.9, 0.9, 0.9, 0.9)}, scale="smoke")])
    found = try_all(Claims(rules=RULES, claims=[above(0.5)]), table, "cpu")[0].own
    assert (found.verdict, found.seeds, found.scale) == ("inconclusive", 2, "cpu")


def test_smoke_gives_no_verdict():
    assert verdict(above(0.5), rows({"a": ends(0.9, 0.9, 0.9)}), "smoke") == "inconclusive"


def test_moments():
    values = pd.DataFrame({"snapshot": [100, 200, 300, 500], "value": [0.4, 0.9, 0.9, 0.1]})
    found = {at: moment(values, at) for at in ("start", "end", "minimum", "maximum", "peak_position")}
    assert found == {"start": 0.4, "end": 0.1, "minimum": 0.1, "maximum": 0.9, "peak_position": 0.25}


def sweep(levels: dict[int, float], seeds: int = 4) -> pd.DataFrame:
    """e2e runs by the step at which they begin, 200 steps each; the longest warm-up is `e2e` itself.

    A run is at its level from its second measurement on.
    """
    names = {start: f"e2e_from_{start}" for start in levels} | {max(levels): "e2e"}
    curves = {
        names[start]: {seed: [0.5, level + 0.001 * seed, level + 0.001 * seed] for seed in range(1, seeds + 1)}
        for start, level in levels.items()
    }
    return rows(curves, starts={name: start for start, name in names.items()})


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ({10: 0.1, 20: 0.2, 40: 0.3, 80: 0.4}, "reproduced"),
        ({10: 0.2, 20: 0.1, 40: 0.3, 80: 0.4}, "reproduced"),  # one swap: 0.8
        ({10: 0.3, 20: 0.2, 40: 0.1, 80: 0.4}, "inconclusive"),
        ({10: 0.4, 20: 0.3, 40: 0.2, 80: 0.1}, "contradicted"),
        ({10: 0.1, 80: 0.4}, "inconclusive"),  # two lengths are no trend
        ({80: 0.4}, "not run"),
    ],
)
def test_trend_over_the_sweep(levels, expected):
    assert verdict(TREND, sweep(levels)) == expected


def test_a_trend_that_is_only_longer_training_is_none():
    """Where health is a matter of the steps in all, later forks end healthier, and are equal at equal totals."""
    starts = {"e2e_from_100": 100, "e2e_from_200": 200, "e2e": 300}
    curves = {run: {seed: [(start + 100 * i) / 1000 for i in range(5)] for seed in (1, 2, 3)} for run, start in starts.items()}
    found = judge(TREND, RULES, rows(curves, starts=starts), "cpu")
    assert (found.verdict, found.share) == ("contradicted", 0)
    assert found.outcomes[0].numbers == ("0.500", "0.600", "0.700", "0.500", "0.500", "0.500")


def test_trend_needs_enough_seeds_and_counts_a_doubled_fork_once():
    levels = {10: 0.1, 20: 0.2, 80: 0.4}
    assert verdict(TREND, sweep(levels, seeds=2)) == "inconclusive"
    doubled = rows({"e2e_from_80": {seed: [0.4] * 3 for seed in (1, 2, 3, 4)}}, starts={"e2e_from_80": 80})
    found = judge(TREND, RULES, pd.concat([sweep(levels), doubled]), "cpu")
    assert (found.verdict, len(found.columns)) == ("reproduced", 2 * 3)


def test_rank_correlation():
    assert rank_correlation(pd.Series([0.1, 0.3, 0.2, 0.4])) == pytest.approx(0.8)
    assert rank_correlation(pd.Series([0.2, 0.2, 0.2])) == 0


def test_same_step_is_where_the_run_itself_ends():
    table = rows({"a": ends(0.6, 0.6, 0.6), "b": {seed: [0.5, 0.5, 0.9] for seed in (1, 2, 3)}})
    assert verdict(above(1.0, run="b", at="same_step"), table) == "reproduced"
    assert verdict(above(1.0, run="b", at="end"), table) == "contradicted"


def test_limits_of_the_claims_are_those_agreed():
    claims = {claim.id: claim.predicate.compare for claim in read_claims(ROOT).claims}
    collapse = {(c.metric, c.at, c.op, c.value) for c in claims["naive_random_collapses"].all_of}
    assert collapse == {("codebook/max_usage", "end", ">=", 0.9), (ENTROPY, "end", "<=", 0.2)}
    opposite = {(c.metric, c.at, c.op, c.value) for c in claims["both_random_does_not_collapse"].all_of}
    assert opposite == {("codebook/max_usage", "end", "<", 0.9), (ENTROPY, "end", ">", 0.2), (ENTROPY, "end", ">", 1.5)}
    kept = {(c.metric, c.op, c.value, c.relative_to.run) for c in claims["e2e_stays_healthy"].all_of[:2]}
    assert kept == {("codebook/utilization", ">=", 0.7, "lam"), (ENTROPY, ">=", 0.7, "lam")}
    assert (RULES.minimum_seeds, RULES.reproduced_at, RULES.contradicted_at) == (3, 0.75, 0.25)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("rules", "reproduced_at"), 0.1, "contradicted_at"),
        (("claims", 0, "predicate", "compare", "all_of", 0, "op"), "==", "=="),
        (("claims", 0, "predicate", "compare", "all_of", 0, "att"), "end", "att"),
        (("claims", 0, "predicate", "compare"), None, "exactly one"),
        (("claims", 1, "id"), "lam_is_healthy", "twice"),
        (("claims", 9, "predicate", "tally", "metrics", 0), "probe/loss", "'probe/loss' is none of probe/l1"),
        (("claims", 9, "predicate", "tally", "better"), "e2e", "'e2e' is no moment; write run@step"),
    ],
)
def test_faults_are_named(tmp_path, path, value, named):
    content = yaml.safe_load((ROOT / CLAIMS).read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / CLAIMS).parent.mkdir(parents=True)
    (tmp_path / CLAIMS).write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=named):
        read_claims(tmp_path)
