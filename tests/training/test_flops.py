"""FLOPs of a step against closed formulas.

Letters of the formulas: N tokens of a batch, F frames of it, S patches of a frame, T frames of a clip, D width.
"""


import pytest
import torch
from tiny import CONFIG, CONFIGS

from cola_world.data.batches import Batch, Shapes
from cola_world.models.autoencoder import VAEConfig
from cola_world.models.system import System
from cola_world.training import flops
from cola_world.training.flops import counted_step, encoding_flops, meta_vae, step_cost, vae_step_flops
from cola_world.training.objective import draw, phase_losses, select_trainable
from cola_world.training.phases import PHASES

SHAPES = Shapes(video=(3, 3, 16, 16), latents=(3, 4, 4, 4))
CLIPS, T, S, D = 5, 3, 4, 32  # of CONFIG's world model
F, N, DEPTH = CLIPS * T, CLIPS * T * S, 2


def product(m: int, n: int, k: int) -> int:
    return 2 * m * n * k


# A linear map's rows, outputs and inputs: those that see data, then those behind a learned map, then those of every block.
FIRST = [(N, D, 16), (F, D, 256), (1, D, 256)]
LATER = [(F, D, D), (1, D, D), (F, 6 * D, D)]
BLOCK = [(N, 3 * D, D), (N, D, D), (N, 4 * D, D), (N, D, 4 * D)]
BLOCKS = 2 * DEPTH * BLOCK + [(N, 2 * 16, D)]  # and the output


def total(*linears: tuple[int, int, int]) -> int:
    return sum(product(*shape) for shape in linears)


def test_pretraining_costs_what_its_matrix_products_do():
    attention = DEPTH * 2 * (product(N, S, D) + product(N, T, D))  # scores and values, in space and in time
    forward = total(*FIRST, *LATER, *BLOCKS) + attention
    backward = total(*FIRST) + 2 * (total(*LATER, *BLOCKS) + attention)  # nothing asks for gradients of data
    assert counted_step(CONFIG, "pretrain", SHAPES, CLIPS).flops == forward + backward


def test_a_frozen_world_model_saves_its_weight_gradients_and_those_that_only_they_need():
    warmup, joint = (counted_step(CONFIG, phase, SHAPES, CLIPS).flops for phase in ("warmup", "e2e"))
    assert warmup < joint
    assert joint - warmup == total(*FIRST, *LATER, *BLOCKS) + total(*LATER)


def test_a_frozen_lam_costs_its_forward_pass_alone():
    frozen, learning = (counted_step(CONFIG, phase, SHAPES, CLIPS) for phase in ("wm", "e2e"))
    assert frozen.flops < learning.flops and frozen.kept < learning.kept


@pytest.mark.parametrize(("phase", "bottleneck"), [*((phase, "vq") for phase in PHASES), ("e2e", "vae")])
def test_deep_systems_are_counted_exactly_from_two_shallow_ones(phase, bottleneck, monkeypatch):
    monkeypatch.setattr(flops, "REPEATS", 2)
    depths = {"idm": 3, "fdm": 4, "action_adaln": 2, "stdit3": 5}
    parts = {name: getattr(CONFIG, name).model_copy(update={"depth": depth}) for name, depth in depths.items()}
    deep = CONFIGS[bottleneck].model_copy(update=parts)
    assert flops.shallow(deep, 1).stdit3.depth == 3
    assert step_cost(deep, phase, SHAPES, 2) == counted_step(deep, phase, SHAPES, 2)


def test_what_is_kept_is_what_a_real_step_keeps():
    system, phase = System(CONFIG, 0), PHASES["lam"]
    select_trainable(system, phase)
    own = {parameter.untyped_storage().data_ptr() for parameter in system.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    batch = Batch(torch.rand(CLIPS, *SHAPES.video), torch.rand(CLIPS, *SHAPES.latents))
    draws = draw(system, phase, CLIPS, batch, torch.Generator())
    exact = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with exact, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = phase_losses(system, phase, batch, draws)
    real = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    assert losses and counted_step(CONFIG, "lam", SHAPES, CLIPS).kept == pytest.approx(real, rel=0.05)


def test_a_vae_costs_more_to_train_than_to_encode_with():
    vae = meta_vae("small", VAEConfig(channels=[8, 8, 8], groups=4))
    assert 3 * encoding_flops(vae, 1, 16) < vae_step_flops(vae.autoencoder, 1, 16)
    assert encoding_flops(vae, 3, 16) == 3 * encoding_flops(vae, 1, 16)
