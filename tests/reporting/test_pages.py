"""Notebooks are thin and clean; pages stand alone and come out the same twice; the front page lists what there is."""

import json
import re

import pytest
import synthetic
from conftest import ROOT

from cola_world.reporting import render, results, site

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [path.stem for path in NOTEBOOKS]
FETCHES = re.compile(r"""(?:src|href|action|data)\s*=\s*["']?\s*(?:[a-z]+:)?//|@import|url\(|<script|<link|<iframe""", re.I)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workspace with every page rendered once."""
    root = tmp_path_factory.mktemp("pages")
    synthetic.write_all(root, [1, 2, 3, 4], log_every=3000)
    synthetic.write_measured(root, [1, 2, 3, 4])
    synthetic.write_ceilings(root, 1)
    for name in ("notebooks", "data", "src"):
        (root / name).symlink_to(ROOT / name)
    results.collect(root)
    for name in PAGES:
        render.render(name, root)
    site.build(root)
    return root


@pytest.mark.parametrize("path", NOTEBOOKS, ids=PAGES)
def test_notebooks_hold_no_outputs_and_little_code(path):
    notebook = json.loads(path.read_text())
    assert len(notebook["cells"]) <= 12
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert len(cell["source"]) <= 8
    assert any("parameters" in cell["metadata"].get("tags", []) for cell in notebook["cells"])


@pytest.mark.parametrize("name", [*PAGES, "index", "placebos"])
def test_pages_fetch_nothing(root, name):
    page = (root / "reports" / f"{name}.html").read_text()
    without_images = re.sub(r'src="data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+"', "", page)
    assert not FETCHES.findall(without_images)
    assert "http" not in without_images
    assert "data:image/" in page or name == "placebos"


@pytest.mark.parametrize("name", [*PAGES, "index", "placebos"])
def test_links_lead_somewhere(root, name):
    page = (root / "reports" / f"{name}.html").read_text()
    for link in re.findall(r'href="([^"]+)"', page):
        target, _, anchor = link.partition("#")
        linked = (root / "reports" / target).resolve() if target else root / "reports" / f"{name}.html"
        assert linked.exists(), link
        assert not anchor or f'id="{anchor}"' in linked.read_text(), link


def test_a_page_shows_scale_numbers_verdicts_and_where_they_come_from(root):
    page = (root / "reports/figure2_collapse.html").read_text()
    for text in ("scale: cpu", "0.04 optimiser steps", "4 of 4 seeds", "reproduced"):
        assert text in page
    for text in ("0123456789", "agibot", "256 fixed held-out clips", "seed 0 only", "learning_rate 0.001", "make repro"):
        assert text in page
    assert "Traceback" not in page
    assert "papermill" not in page
    assert str(root) not in page


def test_a_table_sets_ours_beside_the_paper_s(root):
    page = (root / "reports/table1_probing.html").read_text()
    assert "0.0827 to 0.0827" in page and "6 of 6 rows agree" in page and "WARM8K + E2E22K" in page
    assert "reproduced</span> The jointly trained latent actions have the lower probing loss on most data sets." in page
    assert "What the losses are worth" in page and page.count("0.5000 to 0.5000") == 12 and "Seeds of a number: 1, 2, 3, 4." in page
    assert "What is read, and what could be" in page and page.count("<td>camera</td>") == 6, "a group without rows has none"
    row = "<td>0.13</td><td>0.13</td><td>{}</td><td>{}</td><td>0.07</td><td>0.07</td><td>–</td><td>{}</td>"
    assert page.count(row.format("0.91", "0.82", "0.00")) == 1 and page.count(row.format("–", "–", "–")) == 5
    assert "4 seeds (1, 2, 3, 4)" in page
    page = (root / "reports/table2_prediction.html").read_text()
    assert page.count("<td>yes</td>") == 16 and page.count("<td>not run</td>") == 2 * 16, "guidance 1 and the mean have no rows here"
    assert page.count("<td>as guided</td>") == page.count("<td>none</td>") == 8, "two of four metrics are better the higher they are"
    assert "Seeds of a number: 1." in page and "What the losses are worth" not in page
    assert "LPIPS x 100: ours is lpips_sim" in page and "FVD: ours is fvd_sim" in page and "16 of 16 rows agree" in page
    assert page.count("<small>other data</small>") == 4 * 16 and "to the paper</small>" not in page
    assert "1 seed (1)" in page and "4 seeds" not in page, "the badge counts the seeds of these numbers"
    assert "a verdict needs at least 3 seeds" in page


def test_a_curve_page_has_its_numbers_and_names_stand_ins(root):
    page = (root / "reports/figure4_coevolution.html").read_text()
    assert "libero: FVD (fvd_sim), lower is better" in page and "kitchen: probing loss, lower is better" in page
    assert page.count("<td>joint training after the warm-up</td>") == 6
    assert page.count("<td>pure warm-up: the world model stays frozen</td>") == 9
    assert page.count("1 of 1 seed") == 3 * 3, "in the summary, the card and its reason"


@pytest.mark.slow
def test_what_was_not_run_is_said_to_be_so(tmp_path):
    synthetic.write_all(tmp_path, [1, 2, 3], log_every=10000)
    for name in ("notebooks", "data", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    results.collect(tmp_path)
    for name, text in (("table7_batch_size", "No row has been run."), ("figure8_model_size", "Not run.")):
        render.render(name, tmp_path)
        assert text in (tmp_path / "reports" / f"{name}.html").read_text()


@pytest.mark.slow
def test_rendering_twice_gives_the_same_bytes(root):
    files = sorted((root / "reports").rglob("figure2_collapse.*"))
    assert len(files) == 3
    before = [path.read_bytes() for path in files]
    render.render("figure2_collapse", root)
    assert [path.read_bytes() for path in files] == before


def test_front_page_lists_only_pages_that_exist(root, tmp_path):
    synthetic.write_plan(tmp_path, [1])
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "src").symlink_to(ROOT / "src")
    synthetic.write_run(tmp_path, "lam", [1])
    results.collect(tmp_path)
    site.build(tmp_path)
    alone = (tmp_path / "reports/index.html").read_text()
    assert "None is rendered yet" in alone
    assert "1 not measurable, 26 not run" in alone
    assert all(f"{name}.html" in (root / "reports/index.html").read_text() for name in PAGES)


def test_placebos_stand_beside_their_claims(root):
    page = (root / "reports/placebos.html").read_text()
    told = re.search(r"0 of (\d+) placebos hold; (\d+) fail, (\d+) are not measurable, (\d+) are not run", page)
    total, *parts = map(int, told.groups())
    assert total == sum(parts) > 60 and "holds unintended" not in page
    assert page.count('class="trial holds intended"') == 27 and "e2e_b96@32000 for e2e_long@28000" in page
    assert told[0] in (root / "reports/index.html").read_text() and told[0] in (root / "reports/README.md").read_text()
    front = (root / "reports/index.html").read_text()
    assert "1 to 4 seeds (1, 2, 3, 4)" in front and "section 4.5, Table 4" in front
    card = (root / "reports/figure2_collapse.html").read_text()
    assert 'Placebos: lam <span class="trial fails">fails</span> <small>0 of 4 seeds</small>; naive_pretrained_idm' in card


def test_readme_reads_on_the_repositorys_page_and_holds_no_cost(root):
    text = (root / "reports/README.md").read_text()
    for name in re.findall(r"\]\(([^)]+)\)", text):
        assert (root / "reports" / name).exists(), name
    assert text.count("| **reproduced** |") == 10
    costs = root / results.COSTS
    costs.write_text(costs.read_text().replace("41.5", "77.7"))
    site.build(root)
    assert (root / "reports/README.md").read_text() == text


def test_an_unknown_page_is_one_clear_line(root):
    with pytest.raises(ValueError, match="no page; the pages are figure1"):
        render.render("figure9", root)
