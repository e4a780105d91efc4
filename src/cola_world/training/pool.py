"""Several seeds of a run at a time, with progress; workers die with the process that started them."""

import json
import multiprocessing
import queue
import shutil
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from cola_world.lifeline import die_with_parent
from cola_world.plan import RunPlan
from cola_world.progress import Bar
from cola_world.training.run import Inputs, run_seed
from cola_world.training.store import write_atomically

REPORT_EVERY_S = 0.5
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
            messages.put((seed, done, total))

    return run_seed(plan, seed, inputs, progress)


def run_all_seeds(plan: RunPlan, inputs: Inputs) -> dict[int, Path]:
    """Train every seed of the plan -> each seed's folder in the store."""
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    workers = max(1, min(plan.workers, len(plan.seeds)))
    # Runs are independent, so cores go to them first; a single seed has all of the workers' threads.
    threads = max(1, plan.workers // workers)
    with ProcessPoolExecutor(workers, context, start_worker, (channel, threads)) as pool, Bar(plan.run) as bar:
        futures = {pool.submit(work, plan, seed, inputs): seed for seed in plan.seeds}
        follow(futures, channel, bar)
        return {seed: future.result() for future, seed in futures.items()}


def follow(futures: dict, channel: multiprocessing.Queue, bar: Bar) -> None:
    """Show the workers' progress until all have ended or one has failed."""
    done_steps: dict[int, tuple[int, int]] = {}
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=REPORT_EVERY_S, return_when=FIRST_COMPLETED)
        while True:
            try:
                seed, done, total = channel.get_nowait()
            except queue.Empty:
                break
            done_steps[seed] = (done, total)
        if done_steps:
            length = next(iter(done_steps.values()))[1] * len(futures)
            bar.update(sum(done for done, _ in done_steps.values()), length)
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


def run_to(plan: RunPlan, inputs: Inputs, out: Path) -> None:
    collect(plan, run_all_seeds(plan, inputs), out)
