"""The tables that `cola doctor` prints."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cola_world.doctor import parameters
from cola_world.doctor.estimate import Load
from cola_world.doctor.report import Report, gigabytes, label
from cola_world.models.system import count_parts


def columns(title: str, caption: str, *headings: str) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    table = Table(title=title, caption=caption, caption_justify="left", title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", no_wrap=not index)
    return table


def step_table(report: Report) -> Table:
    machine = report.machine
    table = columns(
        f"One optimiser step on {machine.devices} x {gigabytes(machine.memory)} GB",
        "FLOPs are counted, forward and backward, of all devices. GB are an estimate for each device: fp32 weights of all parts and, "
        "of those that learn, gradients and two moments; activations are the tensors saved for the backward pass, counted in fp32 "
        "with whole attention matrices, which bf16 and fused attention keep less of. Seeds that run side by side are added up.",
        "phase", "clips a device", "at a time", "TFLOP", "weights", "gradients", "Adam", "activations", "GB a device",
    )  # fmt: skip
    for load in {(label(load), load.cost, load.clips): load for load in report.loads if not load.taken_from}.values():
        fixed = [gigabytes(load.at_once * part) for part in load.fixed().values()]
        kept = gigabytes(load.at_once * load.cost.kept)
        clips = (str(load.clips), str(load.at_a_time))
        table.add_row(label(load), *clips, f"{load.step_flops / 1e12:,.4g}", *fixed, kept, gigabytes(load.memory()))
    return table


def time_table(report: Report) -> Table:
    machine = report.machine
    used = f"measured, {report.measured:.2%}" if report.measured else "measured"
    table = columns(
        f"Time, at {machine.peak / 1e12:,.4g} TFLOP/s a device{' (fp32 products, measured here)' if report.peak_measured else ''}",
        "Training steps alone: held-out clips, loading and start-up come on top of the assumed utilisation, and are part of a measured "
        f"one. No phase encodes video: latents are cached, once, for {report.profile.clips.views} crop views of every frame; vae and "
        "latents have one device.",
        "run", "phase", "seeds", "steps a seed", "PFLOP", f"assumed, {report.utilisation:.0%}", used,
    )  # fmt: skip
    rows = [((name, "", "", ""), flops, 1) for name, flops in report.once.items()]
    rows += [(run_cells(load), load.flops, machine.devices) for load in report.loads]
    times = [[machine.hours(flops, rate, devices) for _, flops, devices in rows] for rate in report.rates()]
    for (cells, flops, _), *hours in zip(rows, *times, strict=True):
        table.add_row(*cells, f"{flops / 1e15:,.4g}", *map(duration, hours))
    table.add_section()
    table.add_row("all", "", "", "", f"{sum(flops for _, flops, _ in rows) / 1e15:,.4g}", *(duration(sum(hours)) for hours in times))
    return table


def run_cells(load: Load) -> tuple[str, ...]:
    seeds = f"from {load.taken_from}" if load.taken_from else str(len(load.plan.seeds))
    return load.plan.run, label(load), seeds, f"{load.plan.optimiser_steps():,}"


def duration(hours: float) -> str:
    """Format hours; NaN stands for an unknown time."""
    if math.isnan(hours):
        return "not measured"
    for unit, length in (("h", 1), ("min", 1 / 60)):
        if hours >= length:
            return f"{hours / length:,.1f} {unit}"
    return f"{hours * 3600:.1f} s"


def disk_table(report: Report) -> Table:
    table = columns(
        "Disk",
        "An estimate. Copies: workspace and DVC's cache, and of snapshots the store of runs; a file system that shares blocks needs one. "
        "Raw video and public weights come on top.",
        "what", "GB", "copies", "GB in all",
    )  # fmt: skip
    for name, item in report.disk.items():
        table.add_row(name, gigabytes(item.bytes), str(item.copies), gigabytes(item.total))
    table.add_section()
    table.add_row(f"all, of {gigabytes(report.free)} GB free", "", "", gigabytes(sum(item.total for item in report.disk.values())))
    return table


def supply_table(report: Report) -> Table:
    table = Table("weights and corpora", "state", title="What it starts from", title_justify="left")
    for supply in report.supplies:
        table.add_row(supply.name, escape(supply.state))
    return table


def frozen_table(report: Report) -> Table:
    table = Table("behind", "flow loss", title="The public STDiT3 as it comes, frozen and causal", title_justify="left")
    table.caption = "It has learnt from the latents of opensora_vae; those of the SDXL VAE are out of its distribution."
    for name, state in report.frozen.items():
        table.add_row(name, escape(state))
    return table


def show(report: Report, console: Console) -> int:
    """Print the report -> exit status, 1 if something will not fit or is missing."""
    counts = count_parts(report.profile.system)
    for table in (parameters.table(report.scale, counts), *(make(report) for make in (step_table, time_table, disk_table, supply_table))):
        console.print(table)
    if report.frozen:
        console.print(frozen_table(report))
    faults = report.faults()
    for line in faults:
        console.print(line, style="red", soft_wrap=True, highlight=False, markup=False)
    console.print(f"{len(faults)} faults" if faults else f"{report.scale}: nothing is missing, and all of it fits")
    return 1 if faults else 0
