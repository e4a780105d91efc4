"""Figure 1: our own drawing of the 2-stage pipeline beside CoLA-World, and the table of who learns from which loss.

What is marked as trained or frozen is read from the phase table that training itself reads.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch

from cola_world.reporting.figures import style

LABELS = {
    "idm": "IDM",
    "quantizer": "VQ codebook",
    "fdm": "FDM",
    "action_adaln": "action AdaLN",
    "stdit3": "STDiT3",
    "vae": "VAE encoder",
}
LOSSES = {"flow": "flow matching", "pixel": "pixel error", "vq": "vq", "commitment": "commitment"}
TRAINED, FROZEN, PLAIN = ("#fde0c0", "#d9822b"), ("#dfe6ee", "#7d8fa3"), ("white", "#444444")
GRADIENT = "#c0392b"
ROWS = {"top": 30.0, "bottom": 11.0}
WIDTH, HEIGHT = 16.0, 9.5
PLACES = {
    "video": (8, "top"),
    "idm": (29, "top"),
    "quantizer": (48, "top"),
    "fdm": (68, "top"),
    "action_adaln": (68, "top"),
    "vae": (29, "bottom"),
    "stdit3": (68, "bottom"),
}


class PhaseLike(Protocol):
    """What the drawing needs of a phase: the parts that learn, and the losses."""

    trains: Sequence[str]
    losses: Sequence[str]
    crop: bool


class Cell(NamedTuple):
    phase: str
    title: str
    subtitle: str


CELLS = (
    Cell("lam", "(a) 2-stage, first: the latent action model", "IDM, VQ and FDM learn together by reconstruction"),
    Cell("warmup", "(b) CoLA-World, first: the warm-up", "the world model is frozen and tutors the latent actions"),
    Cell("wm", "(a) 2-stage, second: the world model", "the FDM is dropped; latent actions are fixed"),
    Cell("e2e", "(b) CoLA-World, second: joint training", "gradients pass through the latent actions; all learn"),
)


def architecture(phases: Mapping[str, PhaseLike], parameters: Mapping[str, int] | None = None) -> Figure:
    """Draw the figure. `parameters` is the number of weights of each part, drawn if known."""
    with style():
        figure = Figure(figsize=(12, 6.8))
        grid = figure.subplots(2, 2)
        figure.subplots_adjust(left=0.01, right=0.99, top=0.925, bottom=0.07, wspace=0.04, hspace=0.22)
        for axes, cell in zip(grid.flat, CELLS, strict=True):
            draw_cell(axes, cell, phases[cell.phase], parameters or {})
        key = [
            Patch(facecolor=TRAINED[0], edgecolor=TRAINED[1], label="trained"),
            Patch(facecolor=FROZEN[0], edgecolor=FROZEN[1], hatch="///", label="frozen"),
            Line2D([], [], color=GRADIENT, ls="--", label="gradient of the loss, as far as it goes"),
        ]
        figure.legend(handles=key, loc="lower center", ncols=3, frameon=False, fontsize=10)
        return figure


def draw_cell(axes: Axes, cell: Cell, phase: PhaseLike, parameters: Mapping[str, int]) -> None:
    axes.set(xlim=(-1, 99), ylim=(4, 43))
    axes.axis("off")
    axes.set_title(cell.title, loc="left", fontsize=11.5, fontweight="bold", pad=18)
    axes.text(-1, 43.6, cell.subtitle, fontsize=9, color="#555555", va="bottom")
    box(axes, (8, ROWS["top"]), "video", "frames t, t+1", PLAIN)
    for part in ("idm", "quantizer"):
        draw_part(axes, part, phase, parameters)
    arrow(axes, (16, 30), (21, 30))
    arrow(axes, (37, 30), (40, 30))
    arrow(axes, (56, 30), (60, 30), "z")
    if "fdm" in phase.trains:
        draw_reconstruction(axes, phase, parameters)
    else:
        draw_world_model(axes, phase, parameters)


def draw_reconstruction(axes: Axes, phase: PhaseLike, parameters: Mapping[str, int]) -> None:
    draw_part(axes, "fdm", phase, parameters)
    box(axes, (90, ROWS["top"]), "pixel error", "to frame t+1", PLAIN)
    arrow(axes, (76, 30), (82, 30))
    path(axes, [(8, 25.2), (8, 14), (68, 14), (68, 25.2)], "#444444", "-")
    axes.text(38, 15, "frame t", fontsize=8, ha="center", color="#444444")
    path(axes, [(90, 34.8), (90, 41), (29, 41), (29, 34.8)], GRADIENT, "--")
    extra_losses(axes, phase)


def draw_world_model(axes: Axes, phase: PhaseLike, parameters: Mapping[str, int]) -> None:
    for part in ("action_adaln", "stdit3"):
        draw_part(axes, part, phase, parameters)
    place = (PLACES["vae"][0], ROWS["bottom"])
    box(axes, place, LABELS["vae"], "frozen", FROZEN, hatch=True)
    box(axes, (90, ROWS["bottom"]), "flow loss", "velocity error", PLAIN)
    path(axes, [(8, 25.2), (8, 11), (21, 11)], "#444444", "-")
    arrow(axes, (37, 11), (60, 11), "noisy latents")
    arrow(axes, (68, 25.2), (68, 15.8))
    axes.text(69.2, 20.5, "scale, shift, gate", fontsize=8, va="center", color="#444444")
    arrow(axes, (76, 11), (82, 11))
    if "idm" in phase.trains:
        path(axes, [(90, 15.8), (90, 41), (29, 41), (29, 34.8)], GRADIENT, "--")
        extra_losses(axes, phase)
    else:
        path(axes, [(90, 15.8), (90, 30), (76, 30)], GRADIENT, "--")


def extra_losses(axes: Axes, phase: PhaseLike) -> None:
    names = [LOSSES[loss] for loss in phase.losses if loss in ("vq", "commitment")]
    axes.text(48, 23.2, "+ " + ", ".join(names) + " losses", fontsize=8, ha="center", color=GRADIENT)


def draw_part(axes: Axes, part: str, phase: PhaseLike, parameters: Mapping[str, int]) -> None:
    x, row = PLACES[part]
    trained = part in phase.trains
    size = f", {short(parameters[part])}" if part in parameters else ""
    note = ("trained" if trained else "frozen") + size
    box(axes, (x, ROWS[row]), LABELS[part], note, TRAINED if trained else FROZEN, hatch=not trained)


def short(count: int) -> str:
    """1234567 -> 1.2 M"""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def box(axes: Axes, centre: tuple[float, float], name: str, note: str, colors: tuple[str, str], hatch: bool = False) -> None:
    x, y = centre
    patch = FancyBboxPatch(
        (x - WIDTH / 2 + 0.8, y - HEIGHT / 2 + 0.8),
        WIDTH - 1.6,
        HEIGHT - 1.6,
        boxstyle="round,pad=0.8",
        facecolor=colors[0],
        edgecolor=colors[1],
        linewidth=1.3,
    )
    axes.add_patch(patch)
    if hatch:
        corner = FancyBboxPatch((x - WIDTH / 2 + 0.8, y - HEIGHT / 2 + 0.8), WIDTH - 1.6, HEIGHT - 1.6, boxstyle="round,pad=0.8")
        corner.set(facecolor="none", edgecolor="#c3ced9", hatch="///", linewidth=0, zorder=1.1)
        axes.add_patch(corner)
    axes.text(x, y + 1.4, name, ha="center", va="center", fontsize=7.6, fontweight="bold", zorder=3)
    axes.text(x, y - 2.4, note, ha="center", va="center", fontsize=7.5, color="#333333", zorder=3)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.1, "shrinkA": 0, "shrinkB": 0})
    if text:
        axes.text((start[0] + end[0]) / 2, start[1] + 0.9, text, ha="center", fontsize=8, color="#444444")


def path(axes: Axes, points: list[tuple[float, float]], color: str, dashes: str) -> None:
    """Draw a line with corners and an arrow at its end."""
    axes.plot(*zip(*points[:-1], strict=True), color=color, lw=1.1, ls=dashes, solid_capstyle="butt")
    how = {"arrowstyle": "-|>", "color": color, "lw": 1.1, "ls": dashes, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops=how)


def phase_rows(phases: Mapping[str, PhaseLike]) -> list[dict[str, str]]:
    """Return the phase table as text, one row per phase: each part trained, frozen or absent; losses; random crop."""
    parts = [part for part in LABELS if part != "vae"]
    rows = []
    for name, phase in phases.items():
        states = {LABELS[part]: state(part, phase) for part in parts}
        losses = " + ".join(LOSSES[loss] for loss in phase.losses)
        rows.append({"phase": name, **states, "losses": losses, "random crop": "yes" if phase.crop else "no"})
    return rows


def state(part: str, phase: PhaseLike) -> str:
    if part in phase.trains:
        return "trained"
    reconstructs, acts = "fdm" in phase.trains, "action_adaln" in phase.trains or "fdm" in phase.trains
    used = {"idm": acts, "quantizer": acts, "fdm": reconstructs, "action_adaln": acts and not reconstructs}
    return "frozen" if used.get(part, not reconstructs) else "–"
