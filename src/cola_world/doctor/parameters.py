"""The table of a system's parts and their parameters, which `cola params` and `cola doctor` print."""

from rich.table import Table

PARTS = {
    "idm": "clip to latent actions before quantisation",
    "quantizer": "codebook of the latent actions",
    "fdm": "decoder of the 2-stage baseline",
    "action_adaln": "latent actions into scale, shift and gate",
    "stdit3": "video diffusion transformer",
}


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
