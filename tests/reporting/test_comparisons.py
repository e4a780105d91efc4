"""Predicates on snapshots: what is better, what gains faster, and where a lead is largest."""

import pandas as pd
import pytest
from conftest import ROOT

from cola_world.reporting.claims import Claim, read_claims
from cola_world.reporting.verdicts import counted, judge

RULES = read_claims(ROOT).rules


def claim(**predicate) -> Claim:
    return Claim(id="c", page="p", statement="s", paper="4.2", thresholds="ours", predicate=predicate)


def verdict(claim: Claim, table: pd.DataFrame) -> str:
    return judge(claim, RULES, table, "cpu").verdict


TALLY = {
    "better": "a@200",
    "than": ["b@100"],
    "corpora": ["x", "y"],
    "metrics": ["video/psnr", "video/lpips"],
}


def measured(*values: float, seeds: int = 3, lpips: str = "video/lpips_sim") -> pd.DataFrame:
    """PSNR and LPIPS of run a on x, then on y; those of b are 10 and 0.5."""
    content = []
    for seed in range(1, seeds + 1):
        for index, (corpus, metric) in enumerate([(c, m) for c in "xy" for m in ("video/psnr", lpips)]):
            content.append(("a", 200, corpus, seed, "cpu", metric, values[index]))
            content.append(("b", 100, corpus, seed, "cpu", metric, 0.5 if metric == lpips else 10.0))
    return pd.DataFrame(content, columns=["run", "snapshot", "corpus", "seed", "scale", "metric", "value"])


@pytest.mark.parametrize(
    ("values", "share", "margin", "expected"),
    [
        ((11, 0.4, 11, 0.4), 1.0, 0.0, "reproduced"),
        ((11, 0.4, 11, 0.6), 1.0, 0.0, "contradicted"),
        ((11, 0.4, 11, 0.6), 0.75, 0.0, "reproduced"),
        ((9, 0.6, 11, 0.4), 0.75, 0.0, "contradicted"),
        ((9.9, 0.4, 11, 0.4), 1.0, 0.01, "reproduced"),  # one per cent less of 10
        ((9.9, 0.4, 11, 0.506), 1.0, 0.01, "contradicted"),
    ],
)
def test_a_tally_counts_every_data_set_and_metric_in_its_own_direction(values, share, margin, expected):
    assert verdict(claim(tally=TALLY | {"share": share, "margin": margin}), measured(*values)) == expected


def test_a_tally_takes_the_public_metric_where_there_is_one_and_tells_each_number():
    found = judge(claim(tally=TALLY), RULES, measured(11, 0.4, 12, 0.6, lpips="video/lpips_alex"), "cpu")
    assert found.columns == ("better in", "psnr, x", "lpips_alex, x", "psnr, y", "lpips_alex, y")
    assert found.outcomes[0].numbers == ("3 of 4", "11 against 10", "0.4 against 0.5", "12 against 10", "0.6 against 0.5")


def chain(*psnr: float) -> pd.DataFrame:
    """PSNR on x of run a at 1, 2, …, in three seeds."""
    content = [("a", step, "x", seed, "cpu", "video/psnr", value) for seed in (1, 2, 3) for step, value in enumerate(psnr, 1)]
    return pd.DataFrame(content, columns=["run", "snapshot", "corpus", "seed", "scale", "metric", "value"])


@pytest.mark.parametrize(("values", "expected"), [((12, 11, 10), True), ((12, 10, 11), False), ((12, 11, 11), False)])
def test_an_ordered_tally_is_a_chain(values, expected):
    ordered = claim(tally={"better": "a@1", "than": ["a@2", "a@3"], "corpora": ["x"], "metrics": ["video/psnr"], "ordered": True})
    assert (verdict(ordered, chain(*values)) == "reproduced") == expected


def test_an_equal_rival_is_not_beaten_but_matched():
    equal = claim(tally=TALLY | {"corpora": ["x"], "metrics": ["video/psnr"], "better": "a@1", "than": ["a@2"]})
    matched = claim(tally=TALLY | {"corpora": ["x"], "metrics": ["video/psnr"], "better": "a@1", "than": ["a@2"], "margin": 0.01})
    rows = chain(10, 10).assign(metric="video/psnr")
    other = rows.assign(corpus="z", value=rows["value"] + rows["snapshot"])  # so that they are not one run
    assert verdict(equal, pd.concat([rows, other])) == "contradicted"
    assert verdict(matched, pd.concat([rows, other])) == "reproduced"


@pytest.mark.parametrize(
    ("values", "expected"),
    [((10, 13, 10, 11), True), ((10, 12, 10, 11), False), ((10, 9, 10, 8), False)],  # a gain, and more than twice the other
)
def test_slopes_compare_gains(values, expected):
    faster = {"factor": 2, "gain": {"since": "a@1", "until": "a@2"}, "than": {"since": "a@3", "until": "a@4"}}
    slopes = claim(slopes={"all_of": [faster], "corpora": ["x"], "metrics": ["video/psnr"]})
    assert (verdict(slopes, chain(*values)) == "reproduced") == expected


@pytest.mark.parametrize(("lpips", "expected"), [(0.4, True), (0.48, False), (0.6, False)])
def test_a_lead_is_a_share_of_the_rival_s_value(lpips, expected):
    largest = {"better": "a@200", "than": "b@100", "largest": "video/lpips", "corpora": ["x"], "metrics": ["video/psnr", "video/lpips"]}
    found = judge(claim(lead=largest), RULES, measured(11, lpips, 11, 0.4), "cpu")
    assert (found.verdict == "reproduced") == expected
    assert found.outcomes[0].numbers == (f"10.0%, {(0.5 - lpips) / 0.5:.1%}",)


def test_a_tally_without_one_of_its_numbers_is_not_run():
    table = measured(11, 0.4, 11, 0.4)
    for drop in ((table["run"] == "b") & (table["corpus"] == "y"), table["metric"] == "video/psnr", table["snapshot"] == 200):
        assert verdict(claim(tally=TALLY), table[~drop]) == "not run"
    one = table[(table["seed"] == 1) | (table["run"] == "a")]
    assert judge(claim(tally=TALLY), RULES, one, "cpu").seeds == 1


def test_what_an_fdm_predicts_is_a_run_beside_it():
    both = pd.concat([chain(12, 11), chain(10).assign(metric="video/psnr_fdm")])
    rows = counted(both, RULES, "cpu")
    better = claim(tally={"better": "a@1", "than": ["a/fdm@1"], "corpora": ["x"], "metrics": ["video/psnr"]})
    assert judge(better, RULES, rows, "cpu").outcomes[0].numbers == ("1 of 1", "12 against 10")
    assert counted(rows, RULES, "cpu").equals(rows)


def test_at_the_papers_scale_a_stand_in_judges_nothing():
    for metric, expected in (("video/lpips_sim", "not run"), ("video/lpips_alex", "reproduced")):
        table = measured(11, 0.4, 11, 0.4, lpips=metric).assign(scale="paper")
        assert judge(claim(tally=TALLY), RULES, counted(table, RULES, "paper"), "paper").verdict == expected
    stood_in = measured(11, 0.4, 11, 0.4)
    assert judge(claim(tally=TALLY), RULES, counted(stood_in, RULES, "cpu"), "cpu").verdict == "reproduced"
