"""Resolves what is measured on the snapshots of runs: linear probes and video prediction, a plan a run."""

from typing import Any

from cola_world.config import Params, Profile, nearest
from cola_world.plan import RunPlan, mixture, pretraining_weights, run_plans, weights_plan
from cola_world.training.phases import PHASES
from cola_world.weights import PublicFile

# Groups of corpora whose video prediction is told apart: as the paper names them (Tables 2, 5 and 6), and as corpora name them.
GROUPS = {"oxe": "oxe", "egocentric": "human", "agibot": "agibot", "libero": "out_of_distribution"}
# Rows of data/weights.yaml whose metrics are of predicted video.
NETWORKS = ("i3d", "lpips_alex", "lpips_vgg")


def resolve(params: Params, profile: Profile, public: dict[str, PublicFile] | None = None) -> dict[str, dict[str, Any]]:
    """File stem below runs/plan -> content; `public` is the table of the weights that a profile may name."""
    runs, rows = run_plans(params, profile), weights_plan(profile, public or {})
    networks = {name: row for name, row in rows.items() if name in NETWORKS}
    files = {f"probe/{name}": plan for name, plan in probe_plans(params, profile, runs).items()}
    files |= {f"evaluate/{name}": plan | {"networks": networks} for name, plan in evaluate_plans(params, profile, runs).items()}
    return files | {"encoder": encoder_plan(params, profile)}


def encoder_plan(params: Params, profile: Profile) -> dict[str, Any]:
    """The stand-in for public networks learns from what the world model's prior learns from."""
    clips = profile.clips
    size = {"crop": clips.crop, "views": clips.views, "num_frames": clips.num_frames}
    return size | {"weights": pretraining_weights(params, mixture(params).weights)} | profile.encoder.model_dump()


def probe_plans(params: Params, profile: Profile, runs: dict[str, RunPlan]) -> dict[str, dict[str, Any]]:
    """For each run of `probes`, itself and how it is probed, on every corpus whose robots show their actions."""
    shown = sorted(name for name, corpus in params.corpora.items() if corpus.group != "general" and not corpus.hide_actions)
    how = {"corpora": shown, "crop": profile.clips.crop, "probe": profile.probe.model_dump()}
    for name in params.probes:
        if name not in runs:
            raise ValueError(f"params.yaml: probes: {name!r} is no run; nearest is {nearest(name, list(runs))!r}")
        if not PHASES[runs[name].phase].learns_actions:
            learning = [run for run, plan in runs.items() if PHASES[plan.phase].learns_actions]
            raise ValueError(f"params.yaml: probes: {name!r} learns no latent actions of its own; those that do: {', '.join(learning)}")
    if params.probes and not shown:
        raise ValueError("params.yaml: probes: no corpus shows its actions; name one that does under corpora, or leave probes empty")
    return {name: {"run": runs[name].model_dump(), **how} for name in params.probes}


def evaluate_plans(params: Params, profile: Profile, runs: dict[str, RunPlan]) -> dict[str, dict[str, Any]]:
    """For each run of `evaluate`, itself, its snapshots that are measured, and how."""
    sampling = profile.evaluate.model_dump(exclude={"clips"})
    how = {"groups": evaluated_groups(params), "clips": profile.evaluate.clips, "sampling": sampling}
    for name, snapshots in params.evaluate.items():
        if name not in runs:
            raise ValueError(f"params.yaml: evaluate: {name!r} is no run; nearest is {nearest(name, list(runs))!r}")
        if not PHASES[runs[name].phase].drives_world_model:
            able = [run for run, plan in runs.items() if PHASES[plan.phase].drives_world_model]
            raise ValueError(f"params.yaml: evaluate: {name!r} has no world model of latent actions; those that do: {', '.join(able)}")
        for steps in snapshots:
            if steps not in runs[name].snapshots:
                known = ", ".join(map(str, runs[name].snapshots))
                raise ValueError(f"params.yaml: evaluate.{name}: {steps} is no snapshot of it; it has {known}")
    return {name: {"run": runs[name].model_dump(), "snapshots": snapshots, **how} for name, snapshots in params.evaluate.items()}


def evaluated_groups(params: Params) -> dict[str, dict[str, Any]]:
    """Corpora of each group that has any: those that are trained on, or, where none of them is, all."""
    trained, groups = mixture(params).weights, {}
    for name, group in GROUPS.items():
        corpora = sorted(corpus for corpus, row in params.corpora.items() if row.group == group)
        learnt = [corpus for corpus in corpora if corpus in trained]
        if corpora:
            groups[name] = {"corpora": learnt or corpora, "trained": bool(learnt)}
    return groups
