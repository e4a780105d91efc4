"""What is read of a frame pair, and how well: the paper's losses, and R² and skill by dimension and by group.

Groups are `camera`, `gripper` and `arm`; `camera_even` and `arm_even`, the absolute values of those actions, which
tell how much moves and not where to; and `frame_change`, how much the picture changes.
Shape letters: N pairs, Z values of a latent action, D dimensions of a real one, G targets, S probes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cola_world.evaluation import closed_form
from cola_world.evaluation.dimensions import Dimension
from cola_world.evaluation.probing import HIGH, LOW, Known, ProbeConfig, action_scale, check, fit, losses, scaled

Row = tuple[str, float, str]  # metric, value, protocol


class Target(NamedTuple):
    """A target's group, and the dimension of the action that it is; even targets have no rows of their own."""

    group: str
    dimension: str = ""


class Task(NamedTuple):
    """What is to be read, normalised. The first D targets are the dimensions of the action."""

    targets: tuple[Target, ...]
    train_NG: Tensor
    test_NG: Tensor
    unread: tuple[str, ...]  # even targets that do not vary among the training pairs


def probe(train: Known, test: Known, kinds: tuple[Dimension, ...], config: ProbeConfig, quantile: bool = False) -> list[Row]:
    """Return metric, value and protocol of each number, in units of the normalised target.

    `probe/l1` and its kin: see `losses`; `…_gripper` the same for grippers alone. `probe/r2/<group>` and
    `probe/skill/<group>`, with `/<dimension>` those of one: of the paper's linear layer; `probe/r2_ridge/…` and, if
    asked for, `probe/skill_quantile/…`: of the closed forms. Raises ValueError for a split without pairs, actions
    without spread, or values that are not finite.
    """
    check(train, "training")
    check(test, "test")
    task = task_of(train, test, kinds)
    inputs_NZ, seen_NZ = scaled(train.latents_NZ, test.latents_NZ)
    said_SNG = seen_NZ @ fit(inputs_NZ, task.train_NG, config)
    counts = f"{len(inputs_NZ)} training and {len(seen_NZ)} test pairs{left_out(task)}"
    how = f"linear, L1, {config.steps} steps of {config.batch_size}, mean of {config.probes} probes; {counts}"
    rows = [(name, value, how) for name, value in (paper_losses(said_SNG, task, kinds) | by_group(said_SNG, task)).items()]
    return rows + closed_forms(inputs_NZ[:, :-1], seen_NZ[:, :-1], task, config, quantile, counts)


def closed_forms(inputs_NZ: Tensor, seen_NZ: Tensor, task: Task, config: ProbeConfig, quantile: bool, counts: str) -> list[Row]:
    """Read the same once more without training."""
    given = [values.double().cpu().numpy() for values in (inputs_NZ, task.train_NG, seen_NZ)]
    said_SNG = torch.from_numpy(closed_form.ridge(*given))[None]
    rows = [(name, value, f"ridge regression; {counts}") for name, value in by_group(said_SNG, task, "_ridge", ("r2",)).items()]
    if quantile:
        said_SNG = torch.from_numpy(closed_form.quantile(*given, config.quantile_pairs))[None]
        how = f"quantile regression on {min(config.quantile_pairs, len(inputs_NZ))} pairs; {counts}"
        rows += [(name, value, how) for name, value in by_group(said_SNG, task, "_quantile", ("skill",)).items()]
    return rows


def task_of(train: Known, test: Known, kinds: tuple[Dimension, ...]) -> Task:
    """Normalise actions, their absolute values and the change of the picture by the training pairs.

    A gripper's opening is a state, so that its absolute value is no target.
    """
    grippers_D = torch.tensor([kind.group == "gripper" for kind in kinds], device=train.actions_ND.device)
    scale = action_scale(train.actions_ND, grippers_D, tuple(kind.name for kind in kinds))
    moving = [kind for kind in kinds if kind.group != "gripper"]
    even_NE, tested_NE = (torch.cat((known.actions_ND[:, ~grippers_D].abs(), known.change_N[:, None]), 1) for known in (train, test))
    varies_E = even_NE.double().quantile(even_NE.new_tensor([LOW, HIGH]).double(), dim=0).diff(dim=0)[0] > 0
    names = [*(f"|{kind.name}|" for kind in moving), "frame_change"]
    targets = [*(Target(f"{kind.group}_even") for kind in moving), Target("frame_change")]
    kept = [target for target, varies in zip(targets, varies_E, strict=True) if varies]
    even = action_scale(even_NE[:, varies_E], torch.zeros(len(kept), dtype=torch.bool, device=even_NE.device))
    return Task(
        (*(Target(kind.group, kind.name) for kind in kinds), *kept),
        torch.cat((scale.of(train.actions_ND), even.of(even_NE[:, varies_E])), 1),
        torch.cat((scale.of(test.actions_ND), even.of(tested_NE[:, varies_E])), 1),
        tuple(name for name, varies in zip(names, varies_E, strict=True) if not varies),
    )  # fmt: skip


def left_out(task: Task) -> str:
    """Say which targets have no R² and no skill, because they do not vary."""
    still = [target.dimension or target.group for target, varies in zip(task.targets, varies_in_test(task), strict=True) if not varies]
    return "".join(
        f"; without spread in {split}: {', '.join(names)}" for split, names in (("training", task.unread), ("test", still)) if names
    )


def varies_in_test(task: Task) -> list[bool]:
    return (task.test_NG != task.test_NG[:1]).any(0).tolist()


def paper_losses(said_SNG: Tensor, task: Task, kinds: tuple[Dimension, ...]) -> dict[str, float]:
    """Return the losses of the action's dimensions, and of grippers alone if there are any."""
    error_SNG, median_G = errors(said_SNG, task)
    grippers = [number for number, kind in enumerate(kinds) if kind.group == "gripper"]
    found = losses(error_SNG[..., : len(kinds)], median_G[: len(kinds)])
    return found | (losses(error_SNG[..., grippers], median_G[grippers], "_gripper") if grippers else {})


def errors(said_SNG: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return absolute errors on the test pairs [S, N, G], and the mean ones of the training median [G]."""
    median_G = (task.train_NG.median(0).values - task.test_NG).abs().double().mean(0).cpu()
    return (said_SNG - task.test_NG.to(said_SNG)).abs().double().cpu(), median_G


def by_group(said_SNG: Tensor, task: Task, reader: str = "", scores: tuple[str, ...] = ("r2", "skill")) -> dict[str, float]:
    """Return R² and skill on the test pairs, of each dimension and of each group; of targets that do not vary, none.

    R²: 1 - squared error / variance of the test pairs, the mean over probes; of a group, the mean of its targets. A
    reader by L1 says the median where it knows nothing, so that its R² of a gripper of two states may be about -1.
    Skill: 1 - L1 / L1 of the training median; of a group, of its sums.
    """
    error_SNG, median_G = errors(said_SNG, task)
    r2_G = 1 - error_SNG.square().mean((0, 1)) / task.test_NG.double().var(0, correction=0).cpu()
    loss_G, found = error_SNG.mean((0, 1)), {}
    for name, own in members(task).items():
        values = {"r2": r2_G[own].mean().item(), "skill": 1 - (loss_G[own].sum() / median_G[own].sum()).item()}
        found |= {f"probe/{score}{reader}/{name}": values[score] for score in scores}
    return found


def members(task: Task) -> dict[str, list[int]]:
    """Map each group, and each dimension of the action, to its targets that vary among the test pairs."""
    found: dict[str, list[int]] = {}
    for number, (target, varies) in enumerate(zip(task.targets, varies_in_test(task), strict=True)):
        if varies:
            found.setdefault(target.group, []).append(number)
            if target.dimension:
                found[f"{target.group}/{target.dimension}"] = [number]
    return found
