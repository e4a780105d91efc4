"""Two ceilings of each corpus for what probes read: the same probe on pixels, and on a supervised IDM of the same size.

Without them a low R² may be the fault of the latent action, of the picture, or of the reader.
"""

import itertools
from collections.abc import Callable
from typing import Any

from cola_world.data.clips import ClipCache, ClipsConfig
from cola_world.evaluation.corpus_pairs import Split, splits
from cola_world.evaluation.pixels import pixel_features
from cola_world.evaluation.probing import ProbeConfig
from cola_world.evaluation.readings import probe, task_of
from cola_world.evaluation.rows import write_rows
from cola_world.evaluation.supervised import SupervisedIDM, teach
from cola_world.models.config import Config
from cola_world.models.lam import LAMConfig
from cola_world.running.device import own_device
from cola_world.running.folders import Folders
from cola_world.running.jobs import Call, reporter, run_jobs, threads_each
from cola_world.running.progress import Progress


class CeilingPlan(Config):
    """The corpora that are probed, and the network and the probe that are used."""

    scale: str
    seed: int
    corpora: list[str]
    clips: ClipsConfig
    system: LAMConfig
    probe: ProbeConfig
    workers: int


def measure_ceilings(plan: CeilingPlan, folders: Folders) -> None:
    """Measure both ceilings of all corpora side by side and write their rows. Raises ValueError in one line."""
    jobs = {job: Call(ceiling, (plan, folders, *job)) for job in itertools.product(CEILINGS, plan.corpora)}
    length = len(jobs) * plan.probe.supervised_steps
    rows = run_jobs(jobs, plan.workers, "ceilings", length, threads_each(plan.workers))
    write_rows(folders.runs / "ceilings" / "ceilings.csv", rows.values())


def ceiling(plan: CeilingPlan, folders: Folders, name: str, corpus: str) -> list[dict[str, Any]]:
    """Return the rows of one ceiling of a corpus: its name stands in the place of a run, of step 0."""
    progress = reporter((name, corpus))
    try:
        train, test = splits(ClipCache.open(folders.clips), corpus, plan.clips, plan.probe)
        how, what = CEILINGS[name](plan, train, test, progress)
        found = probe(train.read(what), test.read(what), train.kinds, plan.probe)
    except ValueError as error:
        raise ValueError(f"{name}, corpus {corpus!r}: {error}") from None
    progress(plan.probe.supervised_steps, plan.probe.supervised_steps)
    about = {"run": name, "snapshot": 0, "corpus": corpus, "seed": plan.seed}
    return [about | {"metric": metric, "value": f"{value:.6g}", "protocol": f"{how}; {protocol}"} for metric, value, protocol in found]


def of_pixels(plan: CeilingPlan, train: Split, test: Split, progress: Progress) -> tuple[str, Callable]:
    return "optical flow and differences", pixel_features


def of_supervised(plan: CeilingPlan, train: Split, test: Split, progress: Progress) -> tuple[str, Callable]:
    steps = plan.probe.supervised_steps
    task = task_of(train.read(pixel_features), test.read(pixel_features), train.kinds)
    model = SupervisedIDM(plan.system, len(task.targets), plan.seed).to(own_device())
    teach(model, train, task.train_NG.to(own_device()), steps, plan.seed, progress)
    return f"supervised IDM, {steps} steps", model.read


CEILINGS = {"pixels": of_pixels, "supervised_idm": of_supervised}
