"""Video prediction of a run: each snapshot on the held-out clips of each group of corpora (paper Tables 2, 5, 6).

Results are kept outside the outputs that a pipeline may delete, so that a killed stage resumes and repeats nothing.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field

from cola_world.data.batches import Batch, CachedBatches
from cola_world.evaluation.prediction import PredictionConfig, Sampling, given_frames, load_system, predict, predict_by_fdm
from cola_world.evaluation.rows import write_rows
from cola_world.metrics.encoder import SimEncoder
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.protocol import Measured
from cola_world.metrics.psnr_ssim import PIXELS
from cola_world.metrics.public_networks import open_metrics
from cola_world.metrics.scores import Score, measure
from cola_world.metrics.video import VideoMetrics
from cola_world.models.config import Config
from cola_world.models.pixels import unit_pixels
from cola_world.models.system import System
from cola_world.models.vae import VAE, load_vae
from cola_world.running.code import code_of
from cola_world.running.device import own_device
from cola_world.running.files import fingerprint, renamed, scratch
from cola_world.running.folders import Folders
from cola_world.running.jobs import Call, reporter, run_jobs, threads_each
from cola_world.running.progress import Progress
from cola_world.training import checkpoint
from cola_world.training.plan import RunPlan
from cola_world.weights.public import PublicFile

COPIED = "the last given frame copied"
BY_FDM = "imagined by the FDM of the LAM"


class Group(Config):
    """Corpora whose clips are measured together in equal shares; `trained` tells whether the runs learn from them."""

    corpora: list[str] = Field(min_length=1)
    trained: bool

    def __str__(self) -> str:
        return ", ".join(self.corpora) + ("" if self.trained else " (never trained on)")


class PredictionPlan(Config):
    """The snapshots of a run to measure (in paper steps of its own), for all its seeds, on clips of each group."""

    run: RunPlan
    snapshots: list[int]
    groups: dict[str, Group]
    prediction: PredictionConfig
    networks: dict[str, PublicFile] = Field({}, description="rows of data/weights.yaml whose metrics are measured too")

    def moments(self) -> list[tuple[int, int]]:
        """Return snapshot and seed of each measurement."""
        return list(itertools.product(self.snapshots, self.run.seeds))

    def videos(self) -> int:
        """Return the number of videos that one measurement predicts."""
        return len(self.groups) * len(self.prediction.ways()) * self.prediction.clips


class Tools(NamedTuple):
    """What measures every snapshot, opened once per process."""

    device: torch.device
    vae: VAE
    metrics: list[FrameMetric | ClipFeatures]


def predict_run(plan: PredictionPlan, folders: Folders) -> None:
    """Measure all snapshots and seeds side by side and write their rows. Raises ValueError in one line."""
    jobs = {moment: Call(rows_of, (plan, *moment, folders)) for moment in plan.moments()}
    clips = len(jobs) * plan.videos()
    rows = run_jobs(jobs, plan.run.workers, f"evaluate {plan.run.run}", clips, threads_each(plan.run.workers))
    write_rows(folders.runs / "evaluate" / f"{plan.run.run}.csv", rows.values())


def rows_of(plan: PredictionPlan, steps: int, seed: int, folders: Folders) -> list[dict[str, Any]]:
    """Return the rows of one snapshot, measured unless they are kept already. `snapshot` counts from the start of its
    line.
    """
    progress, total = reporter((steps, seed)), plan.videos()
    kept = scratch() / "predictions" / f"{decided_by(plan, steps, seed, folders)}.json"
    if not kept.is_file():
        values = list(measured(plan, steps, seed, folders, progress))
        with renamed(kept) as partial:
            partial.write_text(json.dumps(values))
    progress(total, total)
    about = {"run": plan.run.run, "snapshot": plan.run.start_step + steps, "seed": seed}
    return [about | values for values in json.loads(kept.read_text())]


def decided_by(plan: PredictionPlan, steps: int, seed: int, folders: Folders) -> str:
    """Return the fingerprint of all that decides the values. Neither the run's name nor `clips_at_a_time` is part of
    it.
    """
    caches = [folder / "card.json" for folder in (folders.clips, folders.latents)]
    files = [*plan.run.line(folders.runs, seed, steps), folders.encoder, *caches]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file} does not exist; run the stage that writes it first")
    how = plan.model_dump(include={"groups": True, "networks": True, "prediction": True})
    del how["prediction"]["clips_at_a_time"]
    system = plan.run.system.model_dump() | {"num_frames": plan.run.clips.num_frames}
    return fingerprint(how, system, measuring_code(), *files)


@functools.cache
def measuring_code() -> dict[str, str]:
    return code_of(Path(__file__))


def measured(plan: PredictionPlan, steps: int, seed: int, folders: Folders, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield corpus (a group of them), metric, value and protocol of each number."""
    tools = open_tools(folders, tuple(sorted(plan.networks.items())))
    line = plan.run.line(folders.runs, seed, steps)
    system = load_system(plan.run.system, line).to(tools.device)
    with_fdm = any("fdm" in checkpoint.parts(file) for file in line)
    clips_of, ways = {name: heldout(plan, group, folders) for name, group in plan.groups.items()}, plan.prediction.ways()
    for number, (name, ending) in enumerate(itertools.product(plan.groups, ways)):
        group, clips = plan.groups[name], clips_of[name]
        report = part_of(progress, number, len(plan.groups) * len(ways), plan.prediction.clips)
        try:
            scores = scores_of(system, clips, ways[ending], plan, tools, report)
        except ValueError as error:
            raise ValueError(f"{plan.run.run} after {steps} steps, seed {seed}, {name}: {error}") from None
        for score in scores:
            for metric, value in score.rows(ending).items():
                protocol = f"{score.protocol}; {group}; {ways[ending]}"
                yield {"corpus": name, "metric": metric, "value": f"{value:.6g}", "protocol": protocol}
        for kind, how, found in beside(system, clips, with_fdm, plan, tools) if ending == "" else ():
            for metric, (value, protocol, _) in found.items():
                yield {"corpus": name, "metric": f"{metric}_{kind}", "value": f"{value:.6g}", "protocol": f"{protocol}; {group}; {how}"}


def part_of(progress: Progress, number: int, parts: int, clips: int) -> Callable[[int], None]:
    """Return what reports clips done of part `number` of `parts`, all of equal clips."""
    return lambda done: progress(number * clips + done, parts * clips)


def scores_of(
    system: System, clips: Batch, sampling: Sampling, plan: PredictionPlan, tools: Tools, progress: Callable[[int], None]
) -> list[Score]:
    """Predict and score. Raises ValueError if a value is not finite."""
    videos = predict(system, tools.vae, clips, sampling, plan.prediction.clips_at_a_time, progress)
    scores = measure(videos, unit_pixels(clips.video), given_frames(system, tools.vae), tools.metrics, tools.device)
    for metric, value in (item for score in scores for item in score.rows().items()):
        if not math.isfinite(value):
            raise ValueError(f"{metric} is {value}; what was predicted cannot be compared with the real video")
    return scores


def beside(
    system: System, clips: Batch, with_fdm: bool, plan: PredictionPlan, tools: Tools
) -> Iterator[tuple[str, str, dict[str, Measured]]]:
    """Yield name, description and metrics of what stands beside a prediction: the last given frame copied, which any
    should beat, and the LAM's own FDM, if it has a trained one.
    """
    real, given = unit_pixels(clips.video), given_frames(system, tools.vae)
    still = torch.cat((real[:, :given], real[:, given - 1 : given].expand_as(real[:, given:])), 1)
    yield "copied", COPIED, of_videos(still, real, given, tools)
    if with_fdm:
        imagined = predict_by_fdm(system, clips, given, plan.prediction.clips_at_a_time)
        yield "fdm", BY_FDM, of_videos(imagined, real, given, tools)


def of_videos(videos: torch.Tensor, real: torch.Tensor, given: int, tools: Tools) -> dict[str, Measured]:
    measuring = VideoMetrics(given, tools.metrics, tools.device)
    measuring.update(videos, real)
    return measuring.results()


@functools.cache
def open_tools(folders: Folders, networks: tuple[tuple[str, PublicFile], ...]) -> Tools:
    device = own_device()
    encoder = SimEncoder.load(folders.encoder, device)
    metrics = [*PIXELS, encoder.lpips(), encoder.fvd(), *open_metrics(dict(networks), folders.weights, device)]
    return Tools(device, load_vae(folders.vae).to(device).eval(), metrics)


def heldout(plan: PredictionPlan, group: Group, folders: Folders) -> Batch:
    """Return the fixed held-out clips of the group, uncropped, corpus by corpus; the same for every run."""
    weights = {corpus: 1 / len(group.corpora) for corpus in group.corpora}
    return CachedBatches(folders.clips, folders.latents, plan.run.clips.num_frames, weights).heldout(plan.prediction.clips)
