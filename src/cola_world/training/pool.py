"""Runs and their seeds, several at a time."""

import json
import shutil
from pathlib import Path

import torch

from cola_world.files import renamed
from cola_world.flops import peak_flops, step_cost
from cola_world.plan import RunPlan
from cola_world.side_by_side import Call, reporter, run_jobs
from cola_world.training import store
from cola_world.training.batches import CachedBatches
from cola_world.training.run import Inputs, run_seed
from cola_world.training.worker import launch

Job = tuple[str, int]  # run and seed


def work(plan: RunPlan, seed: int, inputs: Inputs) -> Path:
    """Train in this process, or under the profile's launcher, which takes up the run where this one asks for it."""
    if plan.launch != "python":
        return launch(plan, seed, inputs)
    return run_seed(plan, seed, inputs, reporter((plan.run, seed)))


def run_all(plans: list[RunPlan], inputs: Inputs) -> dict[Job, Path]:
    """Train every seed of runs that do not depend on each other -> each one's folder in the store."""
    jobs = {(plan.run, seed): plan for plan in plans for seed in plan.seeds}
    trained = equals(jobs)
    # The longest begin first, so that at the end no core waits for long.
    longest_first = sorted(dict.fromkeys(trained.values()), key=lambda job: length(jobs[job]), reverse=True)
    calls = {job: Call(work, (jobs[job], job[1], inputs)) for job in longest_first}
    workers = plans[0].workers if plans[0].launch == "python" else 1
    # A core each: models that train on one gain nothing from a second, whose threads wait for each other at every layer.
    threads = 1 if plans[0].workers > 1 else torch.get_num_threads()
    label, steps = ", ".join(plan.run for plan in plans), sum(jobs[job].optimiser_steps() for job in calls)

    def count() -> None:
        """While the workers start, so that it is known when they are done."""
        for plan in plans:
            step_flops(plan, inputs)

    folders = run_jobs(calls, workers, threads, label, steps, meanwhile=count)
    return {job: folders[own] for job, own in trained.items()}


def equals(jobs: dict[Job, RunPlan]) -> dict[Job, Job]:
    """Each job -> the first one that is the same but for the run's name: equals have one folder, in which one process may work."""
    first: dict[str, Job] = {}
    return {job: first.setdefault(store.hash_of(store.content(plan, job[1])), job) for job, plan in jobs.items()}


def length(plan: RunPlan) -> int:
    """Clips that the run goes through, as a rough measure of its time."""
    return plan.optimiser_steps() * plan.training.batch_size


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
