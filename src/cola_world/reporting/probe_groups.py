"""What is read of the camera, the arm and the gripper, beside what could be: the table by group of the page on probing."""

from collections.abc import Sequence

import pandas as pd

from cola_world.reporting import html
from cola_world.reporting.html import HTML
from cola_world.reporting.tables import Cell, Place

GROUPS = {
    "camera": "camera",
    "arm": "arm",
    "gripper": "gripper",
    "camera_even": "camera, how much",
    "arm_even": "arm, how much",
    "frame_change": "change of the picture",
}
CEILINGS = {"pixels": "pixels", "supervised_idm": "supervised IDM"}
SCORES = {"probe/r2_ridge": "R²", "probe/skill": "skill"}
NOTE = (
    "R² is of a ridge regression and the skill of the paper's linear layer, both on held-out episodes, the mean over seeds: 0 where "
    "nothing is read, 1 where all is. Of a group it is of all its dimensions; each has a row of its own in results.csv. How much is the "
    "absolute value of the same actions, which codes may tell without telling where to. Two ceilings are read by the same probes: pixels, "
    "that is optical flow and differences on coarse grids, and an IDM of the same size that was taught the real actions of the corpus. "
    "What no ceiling reads can be no fault of the latent actions."
)


def section(rows: pd.DataFrame, cells: Sequence[Cell]) -> HTML:
    """Show R² and skill of each corpus and group, of the methods of `cells` and of both ceilings."""
    corpora = {cell.corpus: cell.place.corpus for cell in cells}
    places = {(cell.corpus, cell.method): cell.place for cell in cells}
    methods = list(dict.fromkeys(cell.method for cell in cells))
    body = []
    for label, corpus in corpora.items():
        columns = [*(places[label, method] for method in methods), *(Place(name, 0, corpus) for name in CEILINGS)]
        values = {group: [score_of(place, rows, f"{score}/{group}") for score in SCORES for place in columns] for group in GROUPS}
        body += [[label, GROUPS[group], *own] for group, own in values.items() if set(own) != {"–"}]
    if not body:
        return HTML("")
    head = ["data", "what", *(f"{score}, {name}" for score in SCORES.values() for name in (*methods, *CEILINGS.values()))]
    return html.section("What is read, and what could be", html.table(head, body, "numbers"), html.paragraph(NOTE, "note"))


def score_of(place: Place, rows: pd.DataFrame, metric: str) -> str:
    chosen = place.of(rows)
    values = chosen.loc[chosen["metric"] == metric, "value"]
    return f"{round(values.mean(), 2) + 0.0:.2f}" if len(values) else "–"  # + 0: no number is shown as -0.00
