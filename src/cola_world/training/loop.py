"""The one training loop. It knows phases only as rows of a table."""

import hashlib
from collections.abc import Iterator

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cola_world.models.system import System
from cola_world.training.batches import BatchSource, Material, Prefetched
from cola_world.training.devices import Devices, laid_as, whole
from cola_world.training.phases import Draws, Phase, draw, phase_losses, select_trainable


class TrainingConfig(BaseModel):
    """Optimisation, equal for all phases (paper B.3: AdamW, one learning rate, linear rise over 2000 steps, losses at 1.0)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(7.5e-5, gt=0)
    rise: int = Field(2000, ge=1, description="optimiser steps of the learning rate's linear rise")
    vq_weight: float = 1.0
    commitment_weight: float = 1.0
    kl_weight: float = Field(1e-3, ge=0, description="of continuous latent actions (paper D.5)")
    # not in paper: because OpenSora v1.2 trains with clip 1.0 and without weight decay.
    clip_norm: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    # not in paper: because OpenSora v1.2 keeps an average of its weights and this paper names none, it is an option.
    ema: float = Field(0.0, ge=0, lt=1, description="decay of a running average of the weights; 0 keeps none")

    def weight(self, loss: str) -> float:
        return {"vq": self.vq_weight, "commitment": self.commitment_weight, "kl": self.kl_weight}.get(loss, 1.0)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of one optimiser step, a function of (seed, step) alone."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Trainer:
    """Owns the optimiser of one phase; `step` counts from the start of the line of runs, through forks."""

    def __init__(
        self, system: System, phase: Phase, config: TrainingConfig, source: BatchSource, seed: int, devices: Devices | None = None
    ):
        self.system, self.phase, self.config, self.source, self.seed = system, phase, config, source, seed
        self.devices = devices or Devices()
        self.step = 0
        self.learned = dict.fromkeys(phase.trains, 0)  # optimiser steps that a part has behind it, its ancestors' included
        self.parts = self.devices.shares(config.batch_size)
        self.drawn: tuple[int, Draws] | None = None
        self.material = Prefetched(self.make, self.parts) if self.devices.prefetches else self.make
        self.parameters = select_trainable(system, phase)
        # not in paper: because parts that a fork unfreezes have no moments yet, their learning rate rises from zero as
        # every part's does when it starts to learn, while the others go on; one group a part keeps them apart.
        groups = [{"params": own, "name": part} for part, own in self.by_part().items()]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.call, self.optimizer = self.devices.prepare(system, optimizer)
        self.parameters = select_trainable(system, phase)  # sharding puts others in their place
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()} if config.ema else {}

    def by_part(self) -> dict[str, list[torch.nn.Parameter]]:
        parts: dict[str, list[torch.nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            parts.setdefault(name.partition(".")[0], []).append(parameter)
        return parts

    def train_step(self) -> dict[str, Tensor]:
        """One optimiser step; the unweighted losses stay on the device, those of this rank's clips only."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.accumulate()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm, foreach=True)
        for group in self.optimizer.param_groups:
            self.learned[group["name"]] += 1
            group["lr"] = self.config.learning_rate * min(1.0, self.learned[group["name"]] / self.config.rise)
        self.optimizer.step()
        if self.averages:
            average = get_ema_multi_avg_fn(self.config.ema)
            average(list(self.averages.values()), [p.detach() for p in self.parameters.values()], None)
        self.step += 1
        return losses

    def accumulate(self) -> dict[str, Tensor]:
        """Gradients of the batch's losses, part by part; each loss as this rank's share of the mean over the batch."""
        losses: dict[str, Tensor] = {}
        for part in self.parts:
            batch, draws = (values.each(self.devices.take) for values in self.material(self.step, part))
            share = (part.stop - part.start) / self.config.batch_size
            with self.devices.gathering(self.call, last=part is self.parts[-1]):
                own = self.call(phase_losses, self.phase, batch, draws)
                self.devices.backward(share * sum(self.config.weight(name) * loss for name, loss in own.items()))
            for name, loss in own.items():
                losses[name] = losses.get(name, 0) + share * loss.detach()
        return losses

    def make(self, step: int, part: slice) -> Material:
        """Clips of a step, and their share of what is drawn for the whole batch."""
        size = self.config.batch_size
        batch = self.source.at(step, size, self.phase.crop, part)
        if self.drawn is None or self.drawn[0] != step:
            self.drawn = step, draw(self.system, self.phase, size, batch, step_generator(self.seed, step))
        return batch, self.drawn[1].each(lambda values: values[part])

    def tensors(self, optimizer: bool) -> Iterator[tuple[str, Tensor]]:
        """Weights that this phase trains as `part.name`, their averages as `ema/…`, optimiser moments as `optimizer/<moment>/…`.

        Every rank must run through all of them, as shards are put together.
        """
        for name, parameter in self.parameters.items():
            yield name, whole(parameter)
            if name in self.averages:
                yield f"ema/{name}", whole(self.averages[name])
            if optimizer:
                for moment, value in self.optimizer.state.get(parameter, {}).items():
                    yield f"optimizer/{moment}/{name}", whole(value)

    def load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Take the moments and averages of those parameters that learn here too."""
        for name, parameter in self.parameters.items():
            if name in self.averages and f"ema/{name}" in tensors:
                self.averages[name].copy_(laid_as(tensors[f"ema/{name}"], parameter))
            moments = {m: tensors.get(f"optimizer/{m}/{name}") for m in ("step", "exp_avg", "exp_avg_sq")}
            if all(value is not None for value in moments.values()):
                step = moments.pop("step")
                self.learned[name.partition(".")[0]] = int(step)
                step = step.to(parameter.device)
                self.optimizer.state[parameter] = {"step": step} | {m: laid_as(v, parameter) for m, v in moments.items()}
