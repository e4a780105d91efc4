"""Resolve the table of runs: each row with its parents, its budget and its own settings."""

from collections.abc import Mapping
from functools import cache

from cola_world.data.clips import Mixture, mix
from cola_world.models.stdit3 import beyond_depth
from cola_world.models.system import SystemConfig, meta_system
from cola_world.training.phases import PHASES
from cola_world.training.plan import SHARED_SEED, Parent, RunPlan
from cola_world.weights.public import PublicFile
from cola_world.workspace.params import Params, Run
from cola_world.workspace.profile import Profile, changed


def all_runs(params: Params) -> dict[str, Run]:
    """Return the table with one more e2e run per point of `warmup_sweep`, which differs from `e2e` in its fork alone."""
    forks = {
        f"e2e_from_{steps}": params.runs["e2e"].model_copy(update={"parents": ["pretrain", f"warmup@{steps}"]})
        for steps in params.warmup_sweep
    }
    return params.runs | forks


def run_plans(params: Params, profile: Profile, weights: Mapping[str, PublicFile]) -> dict[str, RunPlan]:
    """Return the plan of every run. Raises ValueError if a parent does not fit."""
    plans = {name: run_plan(name, params, profile, replacing(name, weights)) for name in all_runs(params)}
    for plan in plans.values():
        for parent in plan.parents:
            check_fit(plan, plans[parent.run])
    return plans


def replacing(step: str, weights: Mapping[str, PublicFile]) -> dict[str, PublicFile]:
    """Return the named public weights that take the place of this step."""
    return {name: row for name, row in weights.items() if row.replaces == step}


def run_plan(name: str, params: Params, profile: Profile, public: Mapping[str, PublicFile]) -> RunPlan:
    row = all_runs(params)[name]
    profile = changed(profile, name, row)
    pretrains = row.phase == "pretrain"
    parents = [resolve_parent(parent, params) for parent in row.parents]
    steps, snapshots = budget(name, row, params)
    return RunPlan(
        run=name,
        phase=row.phase,
        scale=params.scale,
        seeds=[SHARED_SEED] if pretrains else params.seeds_of(row),
        parents=parents,
        start_step=max((parent.step for parent in parents if params.runs[parent.run].phase == "warmup"), default=0),
        steps=steps,
        snapshots=snapshots,
        log_every=profile.log_every,
        steps_per_paper_step=profile.steps_per_paper_step,
        workers=profile.workers,
        clips=profile.clips,
        weights=pretraining_weights(params) if pretrains else mixture(params).weights,
        system=profile.system,
        training=profile.pretraining if pretrains else profile.training,
        devices=profile.devices,
        launch=profile.launch,
        continued=is_continued(name, params),
        public=dict(public),
    )


def is_continued(name: str, params: Params) -> bool:
    """Tell whether a run of the table continues what this warm-up learnt. No other phase is continued with its
    moments.
    """
    parents = {parent.partition("@")[0] for row in all_runs(params).values() for parent in row.parents}
    return all_runs(params)[name].phase == "warmup" and name in parents


def check_fit(child: RunPlan, parent: RunPlan) -> None:
    """Raise ValueError if the parts that `parent` brings do not fit `child`. Blocks may be left out, and none be
    missing.
    """
    if child.system == parent.system:
        return
    shapes, brought = part_shapes(child.system), part_shapes(parent.system)
    for name in [*brought, *(name for name in shapes if name not in brought)]:
        if name.partition(".")[0] not in PHASES[parent.phase].trains or beyond_depth(name, child.system.stdit3.depth):
            continue
        if shapes.get(name) != brought.get(name):
            brings = f"brings {name} of {brought[name]}" if name in brought else f"brings no {name}"
            own = f"has it as {shapes[name]}" if name in shapes else "has no such part"
            raise ValueError(
                f"params.yaml: runs.{child.run}.parents: {parent.run!r} {brings}, and {child.run} {own}; "
                f"give both the same changes.system, or leave this parent out"
            )


@cache
def part_shapes(config: SystemConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter by its name in a snapshot; nothing is allocated."""
    parts = meta_system(config).parts()
    return {f"{part}.{name}": tuple(p.shape) for part, module in parts.items() for name, p in module.named_parameters()}


def budget(name: str, row: Run, params: Params) -> tuple[int, list[int]]:
    """Return steps and snapshots. The warm-up keeps a snapshot at each point that a run may fork from."""
    if name != "warmup":
        return row.steps, sorted({*row.snapshots, row.steps})
    steps = max(row.steps, params.warmup_steps)
    return steps, sorted({*row.snapshots, *params.warmup_sweep, params.warmup_steps, steps})


def resolve_parent(parent: str, params: Params) -> Parent:
    run, _, step = parent.partition("@")
    row = params.runs[run]
    steps = {"": row.steps, "warmup_steps": params.warmup_steps}.get(step) or int(step)
    return Parent(run=run, step=steps, shared=row.phase == "pretrain")


def mixture(params: Params) -> Mixture:
    """Return the weight of each corpus. Groups without a corpus give their share to the others, which every page
    tells.
    """
    return mix({name: corpus.group for name, corpus in params.corpora.items() if not corpus.evaluation_only}, params.mixture)


def pretraining_weights(params: Params) -> dict[str, float]:
    """Return half general video, half the mixture.

    not in paper: because OpenSora's own pre-training video contains robots and hands at work, a prior that knows
    nothing of them would be a different question.
    """
    general = [name for name, corpus in params.corpora.items() if corpus.group == "general" and not corpus.evaluation_only]
    shares = {name: 0.5 / len(general) for name in general}
    rest = 1 - sum(shares.values())
    return shares | {name: rest * weight for name, weight in mixture(params).weights.items()}
