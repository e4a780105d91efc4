"""The paper's tables beside ours: intervals, who wins, and what is missing."""

import shutil

import pandas as pd
import pytest
from conftest import ROOT

from cola_world.reporting.metrics import METRICS
from cola_world.reporting.table_pages import difference
from cola_world.reporting.tables import Cell, Estimate, Place, bootstrap, cells, ordering, orderings, over_seeds, read_paper, stand_in


@pytest.fixture
def root(tmp_path):
    shutil.copytree(ROOT / "data" / "paper", tmp_path / "data" / "paper")
    return tmp_path


def rows(*values: tuple) -> pd.DataFrame:
    return pd.DataFrame(values, columns=["run", "snapshot", "corpus", "seed", "metric", "value"])


def test_the_paper_s_numbers_are_complete():
    sizes = {table: read_paper(ROOT, table).groupby(["corpus", "method"]).size() for table in "12567"}
    assert {table: (len(size), set(size)) for table, size in sizes.items()} == {
        "1": (12, {1}), "2": (16, {4}), "5": (8, {4}), "6": (8, {4}), "7": (3, {5}),
    }  # fmt: skip
    with pytest.raises(ValueError, match="no table '3'; there are 1, 2, 5, 6, 7"):
        read_paper(ROOT, "3")


def test_numbers_that_two_tables_share_are_the_same():
    tables = {table: read_paper(ROOT, table).set_index(["corpus", "method", "metric"])["value"] for table in "25"}
    joint = [tables[table].xs("WARM8K + E2E52K", level="method") for table in "25"]
    assert joint[0].sort_index().equals(joint[1].sort_index())


def test_who_wins_in_the_paper_is_what_it_prints_in_bold(root):
    found = {(o.corpus, o.metric): o.paper for o in orderings(cells(rows(), root, "1"))}
    joint = {corpus for (corpus, _), winner in found.items() if winner.startswith("WARM")}
    assert joint == {"BRIDGE", "KUKA", "DROID", "AGIBOT"}
    found = {(o.corpus, o.metric): o.paper for o in orderings(cells(rows(), root, "2"))}
    two_stage = {key for key, winner in found.items() if winner.startswith("LAM")}
    assert two_stage == {("EGOCENTRIC", metric) for metric in ("video/psnr", "video/ssim", "video/lpips")}


def test_ours_are_means_over_seeds_with_intervals(root):
    found = cells(rows(*(("lam", 30000, "sawyer", seed, "probe/l1", value) for seed, value in ((1, 0.2), (2, 0.4)))), root, "1")
    [cell] = [cell for cell in found if cell.ours]
    assert (cell.corpus, cell.method, cell.name) == ("BRIDGE", "LAM30K", "probe/l1")
    assert cell.ours.mean == pytest.approx(0.3) and cell.ours.by_seed == {1: 0.2, 2: 0.4}
    assert (cell.ours.low, cell.ours.high) == (pytest.approx(0.2), pytest.approx(0.4))


def test_one_seed_brings_its_own_interval_and_stand_ins_keep_their_name(root):
    own = [("wm_lam30k", 30000, "oxe", 9, f"video/lpips_sim{end}", value) for end, value in (("", 0.1), ("_low", 0.08), ("_high", 0.12))]
    [cell] = [cell for cell in cells(rows(*own), root, "2") if cell.ours]
    assert cell.name == "video/lpips_sim" and cell.ours == Estimate(10, 8, 12, {9: 10})


def test_a_difference_to_the_paper_is_of_the_same_data_alone(root):
    own = rows(("lam", 30000, "sawyer", 1, "probe/l1", 0.1), ("lam", 30000, "fetch", 1, "probe/l1", 0.1))
    assert not [cell for cell in cells(own, root, "1") if cell.same_data]
    path = root / "data/paper/standins.yaml"
    path.write_text(path.read_text().replace("the_same: []", "the_same: [BRIDGE]"))
    found = {cell.corpus: difference(cell) for cell in cells(own, root, "1") if cell.ours}
    assert found == {"BRIDGE": "<br><small>+0.0173 to the paper</small>", "RT-1": "<br><small>other data</small>"}


def test_the_interval_of_equal_seeds_is_a_point_and_grows_with_their_spread():
    assert bootstrap(pd.Series([2.0, 2.0, 2.0]).to_numpy()) == (2.0, 2.0)
    narrow, wide = (bootstrap(pd.Series(values).to_numpy()) for values in ([1.0, 1.1, 0.9, 1.0], [1.0, 2.0, 0.0, 1.0]))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def both(alone: dict[int, float], joint: dict[int, float] | None) -> list[Cell]:
    """A probing loss of two methods, by seed; of one seed within 0.02."""

    def ours(by_seed: dict[int, float]) -> Estimate:
        if len(by_seed) > 1:
            return over_seeds(by_seed)
        [value] = by_seed.values()
        return Estimate(value, value - 0.02, value + 0.02, by_seed)

    cells = {"lam": (0.2, ours(alone)), "joint": (0.15, joint and ours(joint))}
    return [Cell("A", method, "probe/l1", paper, Place("run", 0, "a"), "probe/l1", value) for method, (paper, value) in cells.items()]


@pytest.mark.parametrize(
    ("alone", "joint", "winner", "clear"),
    [
        ({1: 0.20, 2: 0.50}, {1: 0.19, 2: 0.48}, "joint", True),  # far apart as seeds are, each has the same order
        ({1: 0.20, 2: 0.50}, {1: 0.21, 2: 0.45}, "joint", False),
        ({1: 0.20, 2: 0.50}, {1: 0.21, 2: 0.55}, "lam", True),
        ({1: 0.20}, {1: 0.15}, "joint", True),
        ({1: 0.20}, {1: 0.17}, "joint", False),
        ({1: 0.20}, None, None, False),
    ],
)
def test_a_win_is_clear_when_the_paired_lead_is(alone, joint, winner, clear):
    found = ordering("A", "probe/l1", both(alone, joint))
    assert (found.paper, found.ours, found.clear) == ("joint", winner, clear)
    assert found.paper_lead == pytest.approx(0.05)
    assert found.agrees == (None if winner is None else winner == "joint")


def test_a_lead_is_of_paired_seeds_or_from_end_to_end():
    paired = ordering("A", "probe/l1", both({1: 0.2, 2: 0.5, 3: 0.9}, {1: 0.1, 2: 0.4})).lead
    assert paired.by_seed == pytest.approx({1: 0.1, 2: 0.1}) and paired[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert ordering("A", "probe/l1", both({1: 0.2}, {1: 0.15})).lead[:3] == pytest.approx((0.05, 0.01, 0.09))


def test_every_corpus_of_the_paper_has_a_stand_in():
    import yaml

    stand_ins = yaml.safe_load((ROOT / "data/paper/standins.yaml").read_text())
    for table in "12567":
        for row in read_paper(ROOT, table).itertuples():
            assert isinstance(stand_in(stand_ins, row.corpus, row.metric), str) and row.metric in METRICS
