"""Runs and their seeds, several at a time, with progress; workers die with the process that started them."""

import json
import multiprocessing
import queue
import shutil
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from cola_world.files import renamed
from cola_world.flops import peak_flops, step_cost
from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.progress import Bar
from cola_world.training.batches import CachedBatches
from cola_world.training.run import Inputs, run_seed
from cola_world.training.worker import launch

REPORT_EVERY_S = 0.5
LOST = "a worker process was killed, perhaps for memory; run again, it goes on from what was saved"
Job = tuple[str, int]  # run and seed
messages: multiprocessing.Queue


def start_worker(channel: multiprocessing.Queue, threads: int) -> None:
    global messages
    die_with_parent()
    messages = channel
    torch.set_num_threads(threads)


def work(plan: RunPlan, seed: int, inputs: Inputs) -> Path:
    """Train in this process, or under the profile's launcher, which takes up the run where this one asks for it."""
    if plan.launch != "python":
        return launch(plan, seed, inputs)
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > REPORT_EVERY_S:
            last = time.monotonic()
            messages.put(((plan.run, seed), done))

    return run_seed(plan, seed, inputs, progress)


def run_all(plans: list[RunPlan], inputs: Inputs) -> dict[Job, Path]:
    """Train every seed of runs that do not depend on each other -> each one's folder in the store."""
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    jobs = {(plan.run, seed): plan for plan in plans for seed in plan.seeds}
    workers = max(1, min(plans[0].workers, len(jobs))) if plans[0].launch == "python" else 1
    # A core each: models that train on one gain nothing from a second, whose threads wait for each other at every layer.
    threads = 1 if plans[0].workers > 1 else torch.get_num_threads()
    label = ", ".join(plan.run for plan in plans)
    with ProcessPoolExecutor(workers, context, start_worker, (channel, threads)) as pool, Bar(label) as bar:
        futures = {pool.submit(work, plan, seed, inputs): (run, seed) for (run, seed), plan in jobs.items()}
        for plan in plans:
            step_flops(plan, inputs)  # counted while the workers start, and known when they are done
        follow(futures, channel, bar, sum(plan.optimiser_steps() for plan in jobs.values()))
        return {job: future.result() for future, job in futures.items()}


def follow(futures: dict[Future, Job], channel: multiprocessing.Queue, bar: Bar, length: int) -> None:
    """Show the workers' progress until all have ended or one has failed."""
    done_steps: dict[Job, int] = {}
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=REPORT_EVERY_S, return_when=FIRST_COMPLETED)
        while True:
            try:
                job, done_steps[job] = channel.get_nowait()
            except queue.Empty:
                break
        if done_steps:
            bar.update(sum(done_steps.values()), length)
        for future in finished:
            if error := future.exception():
                for other in pending:
                    other.cancel()
                raise ValueError(LOST) if isinstance(error, BrokenProcessPool) else error


def step_flops(plan: RunPlan, inputs: Inputs) -> int:
    """Of one optimiser step, on all devices together."""
    shapes = CachedBatches(inputs.clips, inputs.latents, plan.batches, seed=0).shapes()
    return step_cost(plan.system, plan.phase, shapes, plan.training.batch_size).flops


def collect(plan: RunPlan, folders: dict[int, Path], inputs: Inputs, out: Path) -> None:
    """Copy the finished runs from the store to `out` in the layout that later steps read."""
    costs, flops = {}, step_flops(plan, inputs)
    for seed, folder in folders.items():
        for steps in plan.snapshots:
            copy(folder / "snapshots" / f"{steps}.safetensors", out / "snapshots" / str(steps) / f"seed{seed}.safetensors")
        copy(folder / "metrics.csv", out / "metrics" / f"seed{seed}.csv")
        costs[str(seed)] = cost_of(plan, json.loads((folder / "done.json").read_text()), flops)
    parameters = next(iter(costs.values()))["parameters"]
    write_json(out / "run.json", describe(plan, parameters))
    write_json(out / "cost.json", {"run": plan.run, "seeds": costs})


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def cost_of(plan: RunPlan, spent: dict, flops: int) -> dict:
    """What a seed has spent, with what it computed for that; utilisation (MFU) where the device's peak is known."""
    spent |= {"samples": spent["steps"] * plan.training.batch_size, "flops": spent["steps"] * flops}
    peak = peak_flops(spent["device"])
    if peak:
        spent["mfu"] = round(spent["flops"] / (spent["wall_s"] * spent["devices"] * peak), 4)
    return spent


def write_json(path: Path, content: dict) -> None:
    with renamed(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def describe(plan: RunPlan, parameters: dict[str, int]) -> dict:
    protocol = f"{plan.batches.heldout_clips} held-out clips of {plan.batches.num_frames} frames"
    return {
        "run": plan.run,
        "phase": plan.phase,
        "scale": plan.scale,
        "steps": plan.steps,
        "start_step": plan.start_step,
        "steps_per_paper_step": plan.steps_per_paper_step,
        "parents": [f"{parent.run}@{parent.step}" for parent in plan.parents],
        "protocol": protocol,
        "parameters": parameters,
    }


def run_to(plans: list[RunPlan], inputs: Inputs, out: Path) -> None:
    """Train the runs and leave each in its own folder below `out`."""
    folders = run_all(plans, inputs)
    for plan in plans:
        collect(plan, {seed: folders[plan.run, seed] for seed in plan.seeds}, inputs, out / plan.run)
