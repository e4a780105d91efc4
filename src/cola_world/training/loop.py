"""The one training loop. It knows phases only as rows of a table."""

from collections.abc import Iterator
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cola_world.data.batches import Batch
from cola_world.models.config import Config
from cola_world.models.layers import step_generator
from cola_world.models.system import System
from cola_world.training.devices import Devices, laid_as, whole
from cola_world.training.objective import Draws, draw, phase_losses, select_trainable
from cola_world.training.phases import Phase
from cola_world.training.prefetch import Material, Prefetched


class BatchSource(Protocol):
    """Batches as a pure function of the step, so that a resumed run sees the clips of an undisturbed one."""

    def at(self, step: int, size: int, crop: bool, clips: slice = slice(None)) -> Batch: ...


class TrainingConfig(Config):
    """Optimisation, equal for all phases (paper B.3: AdamW at 7.5e-5, 128 clips, a rise over 2000 steps, losses at
    1.0).
    """

    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    # not in paper: because a small scale has few optimiser steps for one of the paper's, the rise shrinks with all other budgets.
    rise: int = Field(2000, ge=1, description="paper steps of the learning rate's linear rise")
    vq_weight: float = 1.0
    commitment_weight: float = 1.0
    kl_weight: float = Field(1e-3, ge=0, description="of continuous latent actions (paper D.5)")
    # not in paper: because OpenSora v1.2 trains so, gradients are clipped at 1.0 and there is no weight decay.
    clip_norm: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    # not in paper: because OpenSora v1.2 averages its weights and this paper names no average, it is an option.
    ema: float = Field(0.0, ge=0, lt=1, description="decay of a running average of the weights; 0 keeps none")

    def weight(self, loss: str) -> float:
        return {"vq": self.vq_weight, "commitment": self.commitment_weight, "kl": self.kl_weight}.get(loss, 1.0)


class Trainer:
    """Owns the optimiser of one phase. `step` counts from the start of the line of runs, through forks.

    `steps_per_paper_step` is how many optimiser steps stand for one of the config's paper steps.
    """

    def __init__(
        self, system: System, phase: Phase, config: TrainingConfig, source: BatchSource, seed: int,
        devices: Devices | None = None, steps_per_paper_step: float = 1.0,
    ):  # fmt: skip
        self.system, self.phase, self.config, self.source, self.seed = system, phase, config, source, seed
        self.devices = devices or Devices()
        self.rise = max(1, round(config.rise * steps_per_paper_step))
        self.step = 0
        self.learned = dict.fromkeys(phase.trains, 0)  # optimiser steps of each part so far, its ancestors' included
        self.parts = self.devices.shares(config.batch_size)
        self.drawn: tuple[int, Draws] | None = None
        self.material = Prefetched(self.make, self.parts) if self.devices.prefetches else self.make
        self.parameters = select_trainable(system, phase)
        # not in paper: because parts that a fork unfreezes have no moments yet, their learning rate rises from zero
        # while that of the others goes on; one parameter group a part keeps them apart.
        groups = [{"params": own, "name": part} for part, own in self.by_part().items()]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.call, self.optimizer = self.devices.prepare(system, optimizer)
        self.parameters = select_trainable(system, phase)  # sharding replaces them
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()} if config.ema else {}

    def by_part(self) -> dict[str, list[torch.nn.Parameter]]:
        parts: dict[str, list[torch.nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            parts.setdefault(name.partition(".")[0], []).append(parameter)
        return parts

    def train_step(self) -> dict[str, Tensor]:
        """Take one optimiser step. The unweighted losses stay on the device and are those of this rank's clips."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.accumulate()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm, foreach=True)
        for group in self.optimizer.param_groups:
            self.learned[group["name"]] += 1
            group["lr"] = self.config.learning_rate * min(1.0, self.learned[group["name"]] / self.rise)
        self.optimizer.step()
        if self.averages:
            average = get_ema_multi_avg_fn(self.config.ema)
            average(list(self.averages.values()), [p.detach() for p in self.parameters.values()], None)
        self.step += 1
        return losses

    def accumulate(self) -> dict[str, Tensor]:
        """Accumulate the gradients of the batch part by part -> each loss as this rank's share of the mean over the
        batch.
        """
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
        """Return some clips of a step, and their share of what is drawn for the whole batch."""
        size = self.config.batch_size
        batch = self.source.at(step, size, self.phase.crop, part)
        if self.drawn is None or self.drawn[0] != step:
            self.drawn = step, draw(self.system, self.phase, size, batch, step_generator(self.seed, step))
        return batch, self.drawn[1].each(lambda values: values[part])

    def tensors(self, optimizer: bool) -> Iterator[tuple[str, Tensor]]:
        """Yield trained weights as `part.name`, averages as `ema/…`, and moments as `optimizer/<moment>/…`.

        Every rank must exhaust the iterator, because shards are put together on the way.
        """
        for name, parameter in self.parameters.items():
            yield name, whole(parameter)
            if name in self.averages:
                yield f"ema/{name}", whole(self.averages[name])
            if optimizer:
                for moment, value in self.optimizer.state.get(parameter, {}).items():
                    yield f"optimizer/{moment}/{name}", whole(value)

    def load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Load the moments and averages of the parameters that learn here too."""
        for name, parameter in self.parameters.items():
            if name in self.averages and f"ema/{name}" in tensors:
                self.averages[name].copy_(laid_as(tensors[f"ema/{name}"], parameter))
            moments = {m: tensors.get(f"optimizer/{m}/{name}") for m in ("step", "exp_avg", "exp_avg_sq")}
            if all(value is not None for value in moments.values()):
                step = moments.pop("step")
                self.learned[name.partition(".")[0]] = int(step)
                step = step.to(parameter.device)
                self.optimizer.state[parameter] = {"step": step} | {m: laid_as(v, parameter) for m, v in moments.items()}
