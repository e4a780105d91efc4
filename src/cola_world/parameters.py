"""The parts of a scale's system and their parameters, counted on the meta device: nothing is allocated."""

from pathlib import Path

import torch
from rich.table import Table
from torch import nn

from cola_world.config import Profile, nearest, parse
from cola_world.models.system import System, SystemConfig

PARTS = {
    "idm": "clip to latent actions before quantisation",
    "quantizer": "codebook of the latent actions",
    "fdm": "decoder of the 2-stage baseline",
    "action_adaln": "latent actions into scale, shift and gate",
    "stdit3": "video diffusion transformer",
}


def read_profile(scale: str, root: Path) -> Profile:
    """Profile of `scale` in the workspace `root`; ValueError in one line."""
    folder = root / "stages" / "profiles"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if not known:
        raise ValueError(f"{folder}: no profiles here; run this in the workspace, or name it with --root")
    if scale not in known:
        raise ValueError(f"scale: {scale!r} is not one of {', '.join(known)}; nearest is {nearest(scale, known)!r}")
    return parse(Profile, folder / f"{scale}.yaml")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_parts(config: SystemConfig) -> dict[str, int]:
    """Part -> parameters, by the names of the phase table. The VAE is frozen and no part of the system."""
    with torch.device("meta"):
        return {name: count(part) for name, part in System(config, seed=0).parts().items()}


def table(scale: str, counts: dict[str, int]) -> Table:
    """What `cola params` prints."""
    out = Table(title=f"Parameters at scale {scale}")
    for heading, justify in (("part", "left"), ("parameters", "right"), ("million", "right"), ("what it is", "left")):
        out.add_column(heading, justify=justify, no_wrap=heading != "what it is")

    def add(name: str, number: int, what: str) -> None:
        out.add_row(name, f"{number:,}", f"{number / 1e6:,.2f}", what)

    for name, number in counts.items():
        add(name, number, PARTS.get(name, ""))
    out.add_section()
    add("LAM", sum(counts.get(name, 0) for name in ("idm", "quantizer")), "idm and quantizer; the fdm is only for training")
    add("world model", counts["action_adaln"] + counts["stdit3"], "action_adaln and stdit3")
    return out
