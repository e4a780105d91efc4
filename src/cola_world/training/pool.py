"""Runs and their seeds, several at a time, with progress; workers die with the process that started them."""

import json
import multiprocessing
import queue
import shutil
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.progress import Bar
from cola_world.training.run import Inputs, run_seed
from cola_world.training.store import write_atomically

REPORT_EVERY_S = 0.5
Job = tuple[str, int]  # run and seed
messages: multiprocessing.Queue


def start_worker(channel: multiprocessing.Queue, threads: int) -> None:
    global messages
    die_with_parent()
    messages = channel
    torch.set_num_threads(threads)


def work(plan: RunPlan, seed: int, inputs: Inputs) -> Path:
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
    workers = max(1, min(plans[0].workers, len(jobs)))
    # A core each: models that train on one gain nothing from a second, whose threads wait for each other at every layer.
    threads = 1 if plans[0].workers > 1 else torch.get_num_threads()
    label = ", ".join(plan.run for plan in plans)
    with ProcessPoolExecutor(workers, context, start_worker, (channel, threads)) as pool, Bar(label) as bar:
        futures = {pool.submit(work, plan, seed, inputs): (run, seed) for (run, seed), plan in jobs.items()}
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
            if future.exception():
                for other in pending:
                    other.cancel()
                future.result()


def collect(plan: RunPlan, folders: dict[int, Path], out: Path) -> None:
    """Copy the finished runs from the store to `out` in the layout that later steps read."""
    costs = {}
    for seed, folder in folders.items():
        for steps in plan.snapshots:
            target = out / "snapshots" / str(steps) / f"seed{seed}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "snapshots" / f"{steps}.safetensors", target)
        (out / "metrics").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "metrics.csv", out / "metrics" / f"seed{seed}.csv")
        costs[str(seed)] = json.loads((folder / "done.json").read_text())
    parameters = next(iter(costs.values()))["parameters"]
    write_atomically(out / "run.json", json.dumps(describe(plan, parameters), indent=1, sort_keys=True) + "\n")
    write_atomically(out / "cost.json", json.dumps({"run": plan.run, "seeds": costs}, indent=1, sort_keys=True) + "\n")


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
        collect(plan, {seed: folders[plan.run, seed] for seed in plan.seeds}, out / plan.run)
