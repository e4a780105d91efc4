"""Video prediction of runs: each snapshot on the held-out clips of each group of corpora, as rows of results (paper Tables 2, 5, 6).

What is measured is kept outside the outputs that a pipeline may delete, so that a killed stage goes on and nothing is repeated.
"""

import csv
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from cola_world.evaluation.encoder import SimEncoder
from cola_world.evaluation.metrics import ClipFeatures, FrameMetric
from cola_world.evaluation.pixels import PIXELS
from cola_world.evaluation.prediction import Sampling, given_frames, load_system, predict
from cola_world.evaluation.protocol import Measured
from cola_world.evaluation.public import open_metrics
from cola_world.evaluation.scores import Score, measure
from cola_world.evaluation.video import VideoMetrics
from cola_world.files import file_hash, renamed, scratch
from cola_world.models.idm import unit_pixels
from cola_world.models.system import System
from cola_world.models.vae import VAE, load_vae
from cola_world.plan import RunPlan
from cola_world.side_by_side import Call, Progress, reporter, run_jobs
from cola_world.training import store
from cola_world.training.batches import BatchConfig, CachedBatches
from cola_world.training.phases import Batch
from cola_world.weights import PublicFile

COLUMNS = ("run", "snapshot", "corpus", "seed", "metric", "value", "protocol")
COPIED = "the last given frame copied"
CODE = ("models", "evaluation", "data/clips.py", *(f"training/{name}.py" for name in ("batches", "checkpoint", "phases")))


class Group(BaseModel):
    """Corpora whose clips are measured together, in equal shares; `trained`: whether the runs learn from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    corpora: list[str] = Field(min_length=1)
    trained: bool

    def __str__(self) -> str:
        return ", ".join(self.corpora) + ("" if self.trained else " (never trained on)")


class PredictionPlan(BaseModel):
    """Which snapshots of a run are measured (in paper steps of its own), for all its seeds, and on how many clips of each group."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    run: RunPlan
    snapshots: list[int]
    groups: dict[str, Group]
    clips: int = Field(ge=2)
    sampling: Sampling
    networks: dict[str, PublicFile] = Field({}, description="rows of data/weights.yaml whose metrics are measured too")

    def moments(self) -> list[tuple[int, int]]:
        """Snapshot and seed of each measurement."""
        return list(itertools.product(self.snapshots, self.run.seeds))


class Inputs(NamedTuple):
    """Folders: caches of clips and of their latents, the VAE that made these, and `runs`, below which snapshots are.

    `encoder` is the file of the stand-in encoder; converted public weights go to `weights`.
    """

    clips: Path
    latents: Path
    vae: Path
    runs: Path
    encoder: Path
    weights: Path


class Tools(NamedTuple):
    """What measures every snapshot, opened once a process."""

    device: str
    vae: VAE
    metrics: list[FrameMetric | ClipFeatures]


def predict_runs(plans: list[PredictionPlan], inputs: Inputs, out: Path) -> None:
    """Write `out`/<run>.csv for every plan; snapshots are measured side by side. ValueError in one line where one cannot be."""
    jobs = {(plan.run.run, *moment): Call(rows_of, (plan, *moment, inputs)) for plan in plans for moment in plan.moments()}
    workers = plans[0].run.workers
    threads = 1 if workers > 1 else torch.get_num_threads()
    clips = sum(len(plan.moments()) * len(plan.groups) * plan.clips for plan in plans)
    rows = run_jobs(jobs, workers, threads, "evaluate", clips)
    for plan in plans:
        with renamed(out / f"{plan.run.run}.csv") as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for moment in plan.moments():
                writer.writerows(rows[plan.run.run, *moment])


def rows_of(plan: PredictionPlan, steps: int, seed: int, inputs: Inputs) -> list[dict[str, Any]]:
    """Rows of one snapshot, measured unless that was done before; `snapshot` counts from the beginning of its line."""
    progress = reporter((plan.run.run, steps, seed))
    kept = scratch() / "predictions" / f"{fingerprint(plan, steps, seed, inputs)}.json"
    if not kept.is_file():
        values = list(measured(plan, steps, seed, inputs, progress))
        with renamed(kept) as partial:
            partial.write_text(json.dumps(values))
    progress(len(plan.groups) * plan.clips, len(plan.groups) * plan.clips)
    about = {"run": plan.run.run, "snapshot": plan.run.start_step + steps, "seed": seed}
    return [about | values for values in json.loads(kept.read_text())]


def fingerprint(plan: PredictionPlan, steps: int, seed: int, inputs: Inputs) -> str:
    """Hash of all that decides the values, in which neither the run's name nor how many clips are sampled at once is."""
    files = {
        "line": plan.run.line(inputs.runs, seed, steps), "encoder": [inputs.encoder],
        "caches": [folder / "card.json" for folder in (inputs.clips, inputs.latents)],
    }  # fmt: skip
    for file in (file for each in files.values() for file in each):
        if not file.is_file():
            raise ValueError(f"{file} does not exist; run the stage that writes it first")
    hashes = {name: [file_hash(file) for file in each] for name, each in files.items()}
    how = plan.model_dump(include={"groups", "clips", "networks"}) | plan.sampling.model_dump(exclude={"clips_at_a_time"})
    system = plan.run.system.model_dump() | {"num_frames": plan.run.batches.num_frames}
    return store.hash_of({"plan": how, "system": system, "files": hashes, "code": store.code_hash(CODE)})


def measured(plan: PredictionPlan, steps: int, seed: int, inputs: Inputs, progress: Progress) -> Iterator[dict[str, Any]]:
    """Corpus (a group of them), metric, value and protocol of each number."""
    tools = open_tools(inputs, tuple(sorted(plan.networks.items())))
    system = load_system(plan.run.system, plan.run.line(inputs.runs, seed, steps), plan.sampling).to(tools.device)
    total = len(plan.groups) * plan.clips
    for number, (name, group) in enumerate(plan.groups.items()):
        before = number * plan.clips
        try:
            clips = heldout(plan, group, inputs)
            scores = scores_of(system, clips, plan, tools, lambda done, before=before: progress(before + done, total))
        except ValueError as error:
            raise ValueError(f"{plan.run.run} after {steps} steps, seed {seed}, {name}: {error}") from None
        for score in scores:
            for metric, value in score.values().items():
                protocol = f"{score.protocol}; {group}; {plan.sampling}"
                yield {"corpus": name, "metric": metric, "value": f"{value:.6g}", "protocol": protocol}
        for metric, (value, protocol, _) in copied(clips, given_frames(system, tools.vae), tools).items():
            yield {"corpus": name, "metric": f"{metric}_copied", "value": f"{value:.6g}", "protocol": f"{protocol}; {group}; {COPIED}"}


def scores_of(system: System, clips: Batch, plan: PredictionPlan, tools: Tools, progress: Callable[[int], None]) -> list[Score]:
    """ValueError where a value is no finite number."""
    videos = predict(system, tools.vae, clips, plan.sampling.clips_at_a_time, progress)
    scores = measure(videos, unit_pixels(clips.video), given_frames(system, tools.vae), tools.metrics, tools.device)
    for metric, value in (item for score in scores for item in score.values().items()):
        if not math.isfinite(value):
            raise ValueError(f"{metric} is {value}; what was predicted cannot be compared with the real video")
    return scores


def copied(clips: Batch, given: int, tools: Tools) -> dict[str, Measured]:
    """The metrics of saying that nothing moves after the given frames: what any prediction is to be better than."""
    real = unit_pixels(clips.video)
    still = torch.cat((real[:, :given], real[:, given - 1 : given].expand_as(real[:, given:])), 1)
    measuring = VideoMetrics(given, tools.metrics, tools.device)
    measuring.update(still, real)
    return measuring.results()


@functools.cache
def open_tools(inputs: Inputs, networks: tuple[tuple[str, PublicFile], ...]) -> Tools:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = SimEncoder.load(inputs.encoder, device)
    metrics = [*PIXELS, encoder.lpips(), encoder.fvd(), *open_metrics(dict(networks), inputs.weights, device)]
    return Tools(device, load_vae(inputs.vae).to(device).eval(), metrics)


def heldout(plan: PredictionPlan, group: Group, inputs: Inputs) -> Batch:
    """The group's fixed held-out clips, uncropped, corpus after corpus; the same for every run."""
    weights = {corpus: 1 / len(group.corpora) for corpus in group.corpora}
    config = BatchConfig(num_frames=plan.run.batches.num_frames, weights=weights, heldout_clips=plan.clips)
    return CachedBatches(inputs.clips, inputs.latents, config, seed=0).heldout()
