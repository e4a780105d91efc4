"""The gradients of each phase reach exactly the parts that the paper's table names (paper 3.3, B.3)."""

import pytest
import torch
from tiny import CONFIGS, RandomBatches, awake

from cola_world.models.layers import step_generator
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.objective import draw, phase_losses, select_trainable
from cola_world.training.phases import PHASES, phase_of

TRAINS = {
    "pretrain": {"stdit3"},
    "lam": {"idm", "quantizer", "fdm"},
    "wm": {"action_adaln", "stdit3"},
    "warmup": {"idm", "quantizer", "action_adaln"},
    "e2e": {"idm", "quantizer", "action_adaln", "stdit3"},
    "finetune": {"action_adaln", "stdit3"},
}


def losses_of(system, phase, batch, step: int = 0):
    return phase_losses(system, phase, batch, draw(system, phase, len(batch.video), batch, step_generator(0, step)))


@pytest.mark.parametrize("bottleneck", CONFIGS)
@pytest.mark.parametrize("name", TRAINS)
def test_gradients_reach_exactly_the_parts_of_the_table(name, bottleneck):
    system, phase = awake(config=CONFIGS[bottleneck]), phase_of(name, bottleneck)
    select_trainable(system, phase)
    losses = losses_of(system, phase, RandomBatches().at(0, 4, phase.crop))
    sum(losses.values()).backward()
    reached = {
        part for part, module in system.parts().items()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    }  # fmt: skip
    allocated = {part for part, m in system.parts().items() if any(p.grad is not None for p in m.parameters())}
    assert reached == allocated == TRAINS[name]


@pytest.mark.parametrize(
    ("name", "losses"),
    [("lam", ("pixel", "kl")), ("warmup", ("flow", "kl")), ("e2e", ("flow", "kl")), ("wm", ("flow",)), ("pretrain", ("flow",))],
)
def test_a_vae_has_kl_where_vq_has_its_losses(name, losses):
    row, phase = PHASES[name], phase_of(name, "vae")
    assert phase.losses == losses and (phase.trains, phase.crop, phase.causal) == (row.trains, row.crop, row.causal)
    assert phase_of(name, "vq") is row


def test_a_row_for_another_bottleneck_is_refused():
    """A loss of the table is never left out in silence."""
    batch = RandomBatches().at(0, 2, True)
    with pytest.raises(KeyError, match="vq"):
        losses_of(awake(config=CONFIGS["vae"]), PHASES["e2e"], batch)


@pytest.mark.parametrize("name", ["warmup", "e2e"])
def test_flow_loss_alone_reaches_idm_within_two_steps(name):
    """Zero-initialised projections delay the gradient by one step at the most."""
    from tiny import system as fresh

    system, phase = fresh(), PHASES[name]
    trainer = Trainer(system, phase, TrainingConfig(batch_size=4, learning_rate=1e-3, rise=1), RandomBatches(), 0)
    trainer.train_step()
    trainer.train_step()
    batch = RandomBatches().at(2, 4, phase.crop)
    system.zero_grad(set_to_none=True)
    losses_of(system, phase, batch, step=2)["flow"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in system.lam.idm.parameters())


@pytest.mark.parametrize("bottleneck", CONFIGS)
@pytest.mark.parametrize("name", TRAINS)
def test_a_step_changes_exactly_the_parts_of_the_table(name, bottleneck):
    system = awake(config=CONFIGS[bottleneck])
    before = {part: [p.detach().clone() for p in m.parameters()] for part, m in system.parts().items()}
    config = TrainingConfig(batch_size=2, learning_rate=1e-3, rise=1)
    Trainer(system, phase_of(name, bottleneck), config, RandomBatches(), 0).train_step()
    changed = {
        part for part, module in system.parts().items()
        if any(not torch.equal(p, q) for p, q in zip(module.parameters(), before[part], strict=True))
    }  # fmt: skip
    assert changed == TRAINS[name]


def test_learning_rate_rises_linearly_then_stays():
    trainer = Trainer(awake(), PHASES["e2e"], TrainingConfig(batch_size=2, learning_rate=1e-3, rise=4), RandomBatches(), 0)
    rates = []
    for _ in range(6):
        trainer.train_step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3])
