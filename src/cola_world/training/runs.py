"""Train runs of the table with all their seeds side by side, and leave each run in its folder of the workspace."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

from cola_world.data.batches import CachedBatches
from cola_world.running.files import write_json
from cola_world.running.folders import Folders
from cola_world.running.jobs import Call, reporter, run_jobs, threads_each
from cola_world.training import store
from cola_world.training.flops import peak_flops, step_cost
from cola_world.training.plan import RunPlan
from cola_world.training.run import train

Job = tuple[str, int]  # run and seed


def train_runs(plans: list[RunPlan], folders: Folders) -> None:
    """Train every seed of runs that do not depend on each other, and leave each run in `runs/<run>`."""
    jobs = {(plan.run, seed): plan for plan in plans for seed in plan.seeds}
    trained = equals(jobs)
    # The longest begin first, so that no core idles for long at the end.
    longest_first = sorted(dict.fromkeys(trained.values()), key=lambda job: clips_of(jobs[job]), reverse=True)
    calls = {job: Call(train_one, (jobs[job], job[1], folders)) for job in longest_first}
    workers = plans[0].workers if plans[0].launch == "python" else 1
    label, steps = ", ".join(plan.run for plan in plans), sum(jobs[job].optimiser_steps() for job in calls)

    def count() -> None:
        """Count FLOPs while the workers start, so that they are known when the runs end."""
        for plan in plans:
            step_flops(plan, folders)

    made = run_jobs(calls, workers, label, steps, threads_each(plans[0].workers), meanwhile=count)
    for plan in plans:
        collect(plan, {seed: made[trained[plan.run, seed]] for seed in plan.seeds}, folders)


def equals(jobs: dict[Job, RunPlan]) -> dict[Job, Job]:
    """Map each job to the first job that differs in the run's name alone. Equal jobs share one folder and one
    process.
    """
    first: dict[str, Job] = {}
    return {job: first.setdefault(json.dumps(store.content(plan, job[1]), sort_keys=True), job) for job, plan in jobs.items()}


def clips_of(plan: RunPlan) -> int:
    """Return the number of clips the run goes through, a rough measure of its time."""
    return plan.optimiser_steps() * plan.training.batch_size


def train_one(plan: RunPlan, seed: int, folders: Folders) -> Path:
    """Train in this process, or under the launcher of the profile -> the folder of the run in the store."""
    if plan.launch != "python":
        return launch(plan, seed, folders)
    return train(plan, seed, folders, reporter((plan.run, seed)))


def launch(plan: RunPlan, seed: int, folders: Folders) -> Path:
    """Train in the processes that the profile's launcher starts. Raises ValueError with its exit status."""
    path = store.run_path(plan, seed, folders)
    file = path / "plan.json"
    write_json(file, plan.model_dump())
    command = [*shlex.split(plan.launch), "-m", "cola_world.training.run", str(file), "--seed", str(seed), "--root", str(folders.root)]
    status = subprocess.run(command, check=False).returncode
    if status:
        raise ValueError(f"seed {seed}: {plan.launch!r} ended with status {status}; its own message is above")
    return path


def collect(plan: RunPlan, made: dict[int, Path], folders: Folders) -> None:
    """Copy the finished seeds from the store to the folder of the run, in the layout that later stages read."""
    out, costs, flops = folders.runs / plan.run, {}, step_flops(plan, folders)
    for seed, folder in made.items():
        for steps in plan.snapshots:
            copy(folder / "snapshots" / f"{steps}.safetensors", out / "snapshots" / str(steps) / f"seed{seed}.safetensors")
        copy(folder / "metrics.csv", out / "metrics" / f"seed{seed}.csv")
        costs[str(seed)] = cost_of(plan, json.loads((folder / "done.json").read_text()), flops)
    parameters = next(iter(costs.values()))["parameters"]
    write_json(out / "run.json", plan.described(parameters))
    write_json(out / "cost.json", {"run": plan.run, "seeds": costs})


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def step_flops(plan: RunPlan, folders: Folders) -> int:
    """Return the FLOPs of one optimiser step on all devices together."""
    shapes = CachedBatches(folders.clips, folders.latents, plan.clips.num_frames, plan.weights).shapes()
    return step_cost(plan.system, plan.phase, shapes, plan.training.batch_size).flops


def cost_of(plan: RunPlan, spent: dict, flops: int) -> dict:
    """Return what a seed spent and computed, with model FLOPs utilisation (MFU) if the device's peak is known."""
    spent |= {"samples": spent["steps"] * plan.training.batch_size, "flops": spent["steps"] * flops}
    peak = peak_flops(spent["device"])
    if peak:
        spent["mfu"] = round(spent["flops"] / (spent["wall_s"] * spent["devices"] * peak), 4)
    return spent
