"""The paper's probe: a linear layer that reads real actions from frozen latent ones by L1 (paper 4.1, C.1, Table 1).

Shape letters: N pairs, Z values of a latent action, D dimensions of a real one, S probes, B pairs of a batch.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cola_world.metrics.intervals import of_mean
from cola_world.models.config import Config

LOW, HIGH = 0.01, 0.99  # quantiles of the training actions that become -1 and 1
ROUNDING = 1e-4  # of the largest latent value; smaller variation is rounding, as with a single code


class ProbeConfig(Config):
    """Paper C.1: 1K steps of 64 pairs on each of 8 devices, validated on 20K. The probes are trained side by side."""

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(512, ge=1)
    test_pairs: int = Field(20000, ge=1)
    probes: int = Field(3, ge=1, description="they differ in the order of the pairs")
    # not in paper: because no optimiser is named for the probe, Adam is used with a rate that falls to 0, which comes
    # close to least absolute deviations and changes little between half and twice this rate.
    learning_rate: float = Field(0.01, gt=0)
    quantile_pairs: int = Field(1000, ge=2, description="training pairs of the quantile regression, whose time grows with their square")
    supervised_steps: int = Field(1000, ge=1, description="of 32 clips, of the supervised IDM that is a ceiling")


class Scale(NamedTuple):
    """Normalises actions: value = offset + factor x action, clipped to [low, 1]."""

    offset_D: Tensor
    factor_D: Tensor
    low_D: Tensor

    def of(self, actions_ND: Tensor) -> Tensor:
        values_ND = self.offset_D + self.factor_D * actions_ND
        return values_ND.clamp(self.low_D, torch.ones_like(self.low_D))


def action_scale(train_ND: Tensor, grippers_D: Tensor, names: tuple[str, ...] = ()) -> Scale:
    """Fit the scale of a corpus to its training actions. Raises ValueError that names a dimension without spread.

    not in paper: because its normalisation is not stated, that of public policies on the same data sets is used: the
    1st and 99th percentile map to -1 and 1, values beyond are clipped, and a gripper maps its whole range to 0 and 1.
    """
    train_ND = train_ND.double()
    ends = [train_ND.quantile(train_ND.new_tensor([LOW, HIGH]), dim=0), torch.stack(train_ND.aminmax(dim=0))]
    bottom_D, top_D = torch.where(grippers_D, ends[1], ends[0])
    flat = (top_D <= bottom_D).nonzero().flatten().tolist()
    if flat:
        name = f" ({names[flat[0]]})" if names else ""
        raise ValueError(
            f"action dimension {flat[0]}{name} has no spread: its training values lie at {bottom_D[flat[0]]:g}; "
            f"a probe needs actions that vary, so leave the corpus or the dimension out"
        )
    low_D = grippers_D.double() - 1
    factor_D = (1 - low_D) / (top_D - bottom_D)
    return Scale((low_D - factor_D * bottom_D).float(), factor_D.float(), low_D.float())


def scaled(train_NZ: Tensor, test_NZ: Tensor) -> list[Tensor]:
    """Scale latents to [-1, 1] over the training pairs, constant ones to 0, and append a 1 for the bias: [N, Z + 1]
    each.

    not in paper: because 1K steps reach a loss that depends on the scale of the input, each value is scaled by its
    range; scaling by its deviation would blow up the few pairs of a code that is hardly used.
    """
    low_Z, high_Z = train_NZ.aminmax(dim=0)
    half_Z, middle_Z = (high_Z - low_Z) / 2, (high_Z + low_Z) / 2
    varies_Z = half_Z > ROUNDING * train_NZ.abs().max()
    factor_Z = torch.where(varies_Z, 1 / half_Z, 0.0)
    return [F.pad((latents_NZ - middle_Z) * factor_Z, (0, 1), value=1.0) for latents_NZ in (train_NZ, test_NZ)]


def fit(inputs_NZ: Tensor, wanted_ND: Tensor, config: ProbeConfig) -> Tensor:
    """Train the probes -> weights [S, Z, D]. Each is a function of the data and of its number alone."""
    generators = [torch.Generator().manual_seed(number) for number in range(config.probes)]
    # not in paper: because the start matters only for codes that no training pair has, weights start at 0, which says
    # nothing of those; the probes differ in the order of the pairs.
    weight_SZD = inputs_NZ.new_zeros(config.probes, inputs_NZ.shape[1], wanted_ND.shape[1])
    order = [torch.randint(len(inputs_NZ), (config.steps, config.batch_size), generator=g) for g in generators]
    optimizer = torch.optim.Adam([weight_SZD], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.steps)
    for batch_SB in torch.stack(order, 1).to(inputs_NZ.device):
        inputs_SBZ = inputs_NZ[batch_SB]
        # The gradient of the mean absolute error, written out, takes half the time of autograd.
        side_SBD = torch.baddbmm(wanted_ND[batch_SB], inputs_SBZ, weight_SZD, beta=-1).sign_()
        weight_SZD.grad = inputs_SBZ.mT @ side_SBD / side_SBD[0].numel()
        optimizer.step()
        schedule.step()
    return weight_SZD


class Known(NamedTuple):
    """Latent actions with the real ones of the same pairs, and how much the picture changes between their frames."""

    latents_NZ: Tensor
    actions_ND: Tensor
    change_N: Tensor


def check(pairs: Known, split: str) -> None:
    """Raise ValueError for a split without pairs, or with values that are not finite."""
    if not len(pairs.latents_NZ):
        raise ValueError(f"the {split} split has no frame pair; at least one is needed")
    for values, what in zip(pairs, ("latent actions", "real actions", "pictures"), strict=True):
        if not values.isfinite().all():
            raise ValueError(f"the {split} split has {what} that are not finite numbers; nothing can be read from them")


def losses(error_SND: Tensor, median_D: Tensor, suffix: str = "") -> dict[str, float]:
    """Return a flat dict of the paper's losses on the test pairs, in units of the normalised action.

    `error_SND`: absolute errors. `median_D`: those of always predicting the training median. `probe/l1`: mean over
    probes, pairs and dimensions. `probe/l1_std`: its standard deviation over probes. `probe/l1_low` and
    `probe/l1_high`: its 95 % bootstrap interval over pairs. `probe/l1_median`: loss of the median. `probe/skill`:
    1 - l1 / l1_median, 0 if the latent action tells nothing. Raises ValueError where the test pairs do not vary.
    """
    loss_S, median = error_SND.mean((1, 2)), median_D.mean().item()
    if not median:
        raise ValueError("the test split has no spread: every action is the training median; hold out more episodes")
    loss, (low, high) = loss_S.mean().item(), of_mean(error_SND.mean((0, 2)))
    values = {"l1": loss, "l1_std": loss_S.std(correction=0).item(), "l1_low": low, "l1_high": high}
    values |= {"l1_median": median, "skill": 1 - loss / median}
    return {f"probe/{name}{suffix}": value for name, value in values.items()}
