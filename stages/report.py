"""Collect all numbers, render one page, or build the front page.

`results` reads runs/ and writes reports/results.csv, runs.json and costs.csv. A page reads those but the costs, data/paper and
its notebook, and writes reports/<page>.html and reports/figures/<page>.{png,svg}. `index` reads all of it and writes
reports/index.html, placebos.html and README.md. Run: python -m stages.report results|<page>|index (seconds at every scale).
"""

import sys
from pathlib import Path

from cola_world.running.process import die_with_parent

ROOT = Path(".")


def main(what: str) -> None:
    # Imported where needed: a page needs a kernel, the results need none.
    if what == "results":
        from cola_world.reporting.results import collect

        collect(ROOT)
    elif what == "index":
        from cola_world.reporting.site import build

        build(ROOT)
    else:
        from cola_world.reporting.render import render

        render(what, ROOT)


if __name__ == "__main__":
    die_with_parent()
    if len(sys.argv) != 2:
        sys.exit("report: one argument is needed: results, index, or the name of a notebook in notebooks/")
    try:
        main(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
