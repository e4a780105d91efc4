"""A fork starts as the pre-trained model: a fresh action AdaLN changes no velocity, whatever the actions (paper B.2)."""

from pathlib import Path

import pytest
import torch

from cola_world.data.batches import Batch
from cola_world.models.system import System, SystemConfig
from cola_world.training.objective import draw, phase_losses, select_trainable
from cola_world.training.phases import phase_of
from cola_world.workspace.profile import read_profile
from tests.tiny import CONFIG, CONTINUOUS

SCALES = ("smoke", "cpu", "gpu", "paper")


def cut(scale: str) -> SystemConfig:
    """The scale's widths with one block a part."""
    config = read_profile(scale, Path(__file__).parents[2]).system
    parts = {name: getattr(config, name).model_copy(update={"depth": 1}) for name in ("idm", "fdm", "action_adaln", "stdit3")}
    return config.model_copy(update=parts)


def losses(system: System, actions: list[torch.Tensor | None], frames: int = 4) -> list[torch.Tensor]:
    model = system.world_model
    model.stdit3.set_causal(True)
    latents = torch.randn(3, frames, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    draws = model.draw(latents.shape, torch.Generator().manual_seed(1), drop=False)
    with torch.no_grad():
        return [model.loss(latents, z, draws) for z in actions]


@pytest.mark.parametrize("scale", SCALES)
def test_the_loss_at_the_fork_is_the_pretrained_one_for_any_actions(scale):
    system = System(cut(scale), seed=3)
    z = [scale * torch.randn(3, 3, system.config.action_size) for scale in (0.0, 1.0, 100.0)]
    alone, *driven = losses(system, [None, *z])
    assert alone.mean() > 0.1 and all(torch.equal(alone, loss) for loss in driven)


def test_the_literal_reading_disturbs_the_model_and_stays_an_option():
    adaln = CONFIG.action_adaln.model_copy(update={"zero_at_start": "blocks"})
    system = System(CONFIG.model_copy(update={"action_adaln": adaln}), seed=3)
    alone, driven = losses(system, [None, torch.randn(3, 3, CONFIG.action_size)])
    assert (driven - alone).abs().min() > 1e-3


@pytest.mark.parametrize("config", [CONFIG, CONTINUOUS], ids=["vq", "vae"])
@pytest.mark.parametrize("phase", ["warmup", "e2e"])
def test_the_flow_loss_reaches_the_idm_from_step_1_on(phase, config):
    system, phase = System(config, seed=0), phase_of(phase, config.bottleneck)
    parameters = select_trainable(system, phase)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    batch = Batch(torch.rand(4, 3, 3, 16, 16), torch.randn(4, 3, 4, 4, 4))
    reached = []
    for step in range(3):
        optimizer.zero_grad()
        draws = draw(system, phase, 4, batch, torch.Generator().manual_seed(step))
        phase_losses(system, phase, batch, draws)["flow"].backward()
        reached.append(sum(p.grad.abs().sum().item() for p in system.lam.idm.parameters() if p.grad is not None))
        optimizer.step()
    assert reached[0] == 0 and reached[1] > 0 and reached[2] > 0
