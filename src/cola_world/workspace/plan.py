"""Resolve params.yaml and a profile into one small file for each stage.

A stage depends on its own file only, so that a dial reruns just what it changes.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cola_world.data.corpora import CorpusConfig
from cola_world.data.simulate import SimulationPlan
from cola_world.metrics.encoder_training import EncoderPlan
from cola_world.running.files import write_json
from cola_world.training.vae import VAEPlan
from cola_world.weights.public import PublicFile
from cola_world.workspace.faults import nearest
from cola_world.workspace.measurements import ceiling_plan, evaluate_plans, probe_plans
from cola_world.workspace.params import Params
from cola_world.workspace.profile import Profile
from cola_world.workspace.runs import mixture, pretraining_weights, replacing, run_plans

Files = dict[str, dict[str, Any]]


def resolve(params: Params, profile: Profile, public: Mapping[str, PublicFile] | None = None) -> Files:
    """Map file stems below runs/plan to contents. `public` is the table of weights that a profile may name."""
    weights = named_weights(profile, public or {})
    runs = run_plans(params, profile, weights)
    plans = {f"simulate/{name}": corpus_plan(name, corpus, profile) for name, corpus in params.corpora.items()}
    plans |= data_plans(params, profile) | {"vae": vae_plan(profile, weights), "encoder": encoder_plan(params, profile)}
    plans |= runs
    plans |= {f"probe/{name}": plan for name, plan in probe_plans(params, profile, runs).items()}
    plans |= {"ceilings": ceiling_plan(params, profile)}
    plans |= {f"evaluate/{name}": plan for name, plan in evaluate_plans(params, profile, runs, weights).items()}
    plans |= {"report": report_plan(params, profile), "weights": weights}
    return {name: plain(plan) for name, plan in plans.items()}


def plain(plan: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Turn a plan into values that JSON knows."""
    if isinstance(plan, BaseModel):
        return plan.model_dump(mode="json")
    return {key: plain(value) if isinstance(value, BaseModel) else value for key, value in plan.items()}


def named_weights(profile: Profile, public: Mapping[str, PublicFile]) -> dict[str, PublicFile]:
    """Return the rows of the table that the profile names, with its own path and checksum.

    Raises ValueError for an unknown name, or for two rows that take the place of one step.
    """
    rows = {}
    for name, own in profile.weights.items():
        if name not in public:
            raise ValueError(f"weights: {name!r} is no row of data/weights.yaml; nearest is {nearest(name, list(public))!r}")
        rows[name] = public[name].brought(own)
    for step in ("pretrain", "vae"):
        names = list(replacing(step, rows))
        if len(names) > 1:
            raise ValueError(f"weights: {' and '.join(names)} both take the place of {step}; name one of them")
    return rows


def data_plans(params: Params, profile: Profile) -> dict[str, dict[str, Any]]:
    """Return the named arguments of the calls that index, decode and encode the corpora."""
    clips = profile.clips
    return {
        "manifest": {"corpora": {name: corpus.model_dump() for name, corpus in params.corpora.items()}},
        "clips": clips.model_dump(include={"size", "num_frames"}) | {"mixture": params.mixture},
        "latents": clips.model_dump(include={"crop", "views", "num_frames"}),
    }


def corpus_plan(name: str, corpus: CorpusConfig, profile: Profile) -> SimulationPlan | dict[str, str]:
    """Say how the corpus is rendered, or where it lies."""
    if corpus.path:
        return {"path": corpus.path}
    return SimulationPlan(
        corpus=name, environment=corpus.environment, hide_actions=corpus.hide_actions,
        simulation=profile.simulate, workers=profile.workers,
    )  # fmt: skip


def vae_plan(profile: Profile, weights: Mapping[str, PublicFile]) -> VAEPlan:
    return VAEPlan(vae=profile.vae, crop=profile.clips.crop, views=profile.clips.views, public=replacing("vae", weights))


def encoder_plan(params: Params, profile: Profile) -> EncoderPlan:
    """The stand-in for public networks learns from the video that the world model's prior learns from."""
    clips = profile.clips.model_dump(include={"crop", "views", "num_frames"})
    return EncoderPlan(training=profile.encoder, weights=pretraining_weights(params), **clips)


def report_plan(params: Params, profile: Profile) -> dict[str, Any]:
    return {
        "scale": params.scale,
        "seeds": params.seeds,
        "warmup_steps": params.warmup_steps,
        "warmup_sweep": params.warmup_sweep,
        "steps_per_paper_step": profile.steps_per_paper_step,
        "data": mixture(params).weights,
        "notes": [str(mixture(params))] if mixture(params).missing else [],
    }


def write(files: Files, folder: Path) -> None:
    """Write each plan to a file of its own, and remove the old plans."""
    shutil.rmtree(folder, ignore_errors=True)
    for stem, content in files.items():
        write_json(folder / f"{stem}.json", content)
