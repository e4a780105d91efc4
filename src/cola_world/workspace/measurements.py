"""Resolve what is measured on the snapshots of runs: linear probes and video prediction, one plan per run, and the ceilings
of the probes.
"""

from collections.abc import Mapping

from cola_world.evaluation.ceilings import CeilingPlan
from cola_world.evaluation.predict_runs import Group, PredictionPlan
from cola_world.evaluation.probe_runs import ProbePlan
from cola_world.metrics.public_networks import VIDEO_NETWORKS
from cola_world.models.lam import LAMConfig
from cola_world.training.phases import PHASES
from cola_world.training.plan import RunPlan
from cola_world.weights.public import PublicFile
from cola_world.workspace.faults import nearest
from cola_world.workspace.params import Params
from cola_world.workspace.profile import Profile
from cola_world.workspace.runs import mixture

# Groups of corpora with separate video prediction: the paper's name (Tables 2, 5 and 6) -> the group in `corpora`.
GROUPS = {"oxe": "oxe", "egocentric": "human", "agibot": "agibot", "libero": "out_of_distribution"}


def probe_plans(params: Params, profile: Profile, runs: Mapping[str, RunPlan]) -> dict[str, ProbePlan]:
    """Plan the probes of each run of `probes`, on every corpus whose robots show their actions."""
    shown = probed_corpora(params)
    for name in params.probes:
        if name not in runs:
            raise ValueError(f"params.yaml: probes: {name!r} is no run; nearest is {nearest(name, list(runs))!r}")
        if PHASES[runs[name].phase].actions != "learned":
            learning = [run for run, plan in runs.items() if PHASES[plan.phase].actions == "learned"]
            raise ValueError(f"params.yaml: probes: {name!r} learns no latent actions of its own; those that do: {', '.join(learning)}")
    if params.probes and not shown:
        raise ValueError("params.yaml: probes: no corpus shows its actions; name one that does under corpora, or leave probes empty")
    return {name: ProbePlan(run=runs[name], corpora=shown, probe=profile.probe) for name in params.probes}


def ceiling_plan(params: Params, profile: Profile) -> CeilingPlan:
    """Plan the ceilings of every corpus that is probed: one seed, and the network of the profile."""
    system = LAMConfig(**{name: getattr(profile.system, name) for name in LAMConfig.model_fields})
    return CeilingPlan(
        scale=params.scale, seed=params.seeds[0], corpora=probed_corpora(params) if params.probes else [],
        clips=profile.clips, system=system, probe=profile.probe, workers=profile.workers,
    )  # fmt: skip


def probed_corpora(params: Params) -> list[str]:
    """Return the corpora whose robots show their actions."""
    return sorted(name for name, corpus in params.corpora.items() if corpus.group != "general" and not corpus.hide_actions)


def evaluate_plans(
    params: Params, profile: Profile, runs: Mapping[str, RunPlan], weights: Mapping[str, PublicFile]
) -> dict[str, PredictionPlan]:
    """Plan the video prediction of each run of `evaluate`."""
    networks = {name: row for name, row in weights.items() if name in VIDEO_NETWORKS}
    prediction = profile.evaluate.model_copy(update={"guidance": params.guidance})
    how = {"groups": evaluated_groups(params), "prediction": prediction, "networks": networks}
    for name, snapshots in params.evaluate.items():
        check_evaluated(name, snapshots, runs)
    return {name: PredictionPlan(run=runs[name], snapshots=snapshots, **how) for name, snapshots in params.evaluate.items()}


def check_evaluated(name: str, snapshots: list[int], runs: Mapping[str, RunPlan]) -> None:
    if name not in runs:
        raise ValueError(f"params.yaml: evaluate: {name!r} is no run; nearest is {nearest(name, list(runs))!r}")
    if not PHASES[runs[name].phase].drives_world_model:
        able = [run for run, plan in runs.items() if PHASES[plan.phase].drives_world_model]
        raise ValueError(f"params.yaml: evaluate: {name!r} has no world model of latent actions; those that do: {', '.join(able)}")
    for steps in snapshots:
        if steps not in runs[name].snapshots:
            known = ", ".join(map(str, runs[name].snapshots))
            raise ValueError(f"params.yaml: evaluate.{name}: {steps} is no snapshot of it; it has {known}")


def evaluated_groups(params: Params) -> dict[str, Group]:
    """Return the corpora of each group: those that are trained on or, if none is, all."""
    trained, groups = mixture(params).weights, {}
    for name, group in GROUPS.items():
        corpora = sorted(corpus for corpus, row in params.corpora.items() if row.group == group)
        learnt = [corpus for corpus in corpora if corpus in trained]
        if corpora:
            groups[name] = Group(corpora=learnt or corpora, trained=bool(learnt))
    return groups
