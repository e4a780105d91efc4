"""What a step does beside its mathematics: it waits for no device, keeps fp32 where it matters, and compiles to few graphs."""

import pytest
import torch
from tiny import CONFIG, CONFIGS, RandomBatches, awake
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cola_world.data.batches import Batch
from cola_world.models.layers import Attention
from cola_world.models.pixels import pixel_statistics, unit_pixels
from cola_world.models.system import System
from cola_world.training import devices
from cola_world.training.devices import DeviceConfig, Devices
from cola_world.training.loop import Trainer, TrainingConfig
from cola_world.training.objective import draw, phase_losses, select_trainable
from cola_world.training.phases import PHASES, phase_of
from cola_world.training.prefetch import Prefetched

TRAINING = TrainingConfig(batch_size=6, learning_rate=1e-3, rise=3)
META = torch.device("meta")


def trainer_of(phase: str, bottleneck: str = "vq", training: TrainingConfig = TRAINING, **config) -> Trainer:
    system, row = awake(config=CONFIGS[bottleneck]), phase_of(phase, bottleneck)
    return Trainer(system, row, training, RandomBatches(), 0, Devices(DeviceConfig(**config)))


def curve(trainer: Trainer, steps: int = 4) -> list[dict[str, float]]:
    return [{name: loss.item() for name, loss in trainer.train_step().items()} for _ in range(steps)]


class Transfers(TorchDispatchMode):
    """Finds what a GPU would be waited for: a value that is read, a mask, a tensor or a list that is brought from the host."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.lists = Lists(self.found)

    def __enter__(self):
        self.lists.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self.lists.__exit__(*exception)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        before, after = ({t.device for t in tree_leaves(values) if isinstance(t, torch.Tensor)} for values in (args, result))
        brought = META in after and before and META not in before
        masked = function is torch.ops.aten.index.Tensor and any(t.dtype == torch.bool for t in args[1] if t is not None)
        if brought or masked or function is torch.ops.aten._local_scalar_dense.default:
            self.found.append(str(function))
        return result


class Lists(TorchFunctionMode):
    """Tensors made of lists never reach a dispatch mode."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("bottleneck", CONFIGS)
@pytest.mark.parametrize("phase", PHASES)
def test_losses_bring_nothing_from_the_host(phase, bottleneck):
    with META:
        system = System(CONFIGS[bottleneck], 0)
    row = phase_of(phase, bottleneck)
    select_trainable(system, row)
    # Larger than the LAM sees them, and bytes, as the cache has them.
    batch = Batch(torch.empty(2, 3, 3, 20, 20, dtype=torch.uint8, device=META), torch.empty(2, 3, 4, 4, 4, device=META))
    draws = draw(system, row, 2, batch, torch.Generator()).each(lambda values: values.to(META))
    pixel_statistics(META, torch.float32)  # brought once a process
    with Transfers() as transfers:
        sum(phase_losses(system, row, batch, draws).values()).backward()
    assert transfers.found == []


def test_what_would_be_waited_for_is_found():
    with Transfers() as transfers:
        torch.ones(2).to(META)
        torch.zeros(2, device=META).new_tensor([1.0])
        torch.ones(1).item()
        torch.ones(2)[torch.ones(2, dtype=torch.bool)]
    assert len(transfers.found) == 4


@pytest.mark.parametrize("config", [{}, {"clips_at_a_time": 4}])
def test_a_step_reads_no_value(config):
    trainer = trainer_of("e2e", training=TRAINING.model_copy(update={"ema": 0.9}), **config)
    trainer.train_step()
    with Transfers() as transfers:
        trainer.train_step()
    assert transfers.found == []


@pytest.mark.parametrize("config", [{}, {"clips_at_a_time": 4}])
def test_what_is_read_ahead_is_the_same(config):
    ahead = trainer_of("e2e", "vae", **config)
    ahead.material = Prefetched(ahead.make, ahead.parts)
    assert curve(ahead) == curve(trainer_of("e2e", "vae", **config))


def test_a_run_that_jumps_reads_what_it_jumped_to():
    ahead, behind = trainer_of("lam"), trainer_of("lam")
    ahead.material = Prefetched(ahead.make, ahead.parts)
    curve(ahead, 2), curve(behind, 2)
    ahead.step = behind.step = 7
    assert curve(ahead) == curve(behind)


def test_bytes_are_the_same_clips():
    system, phase = awake(), PHASES["lam"]
    video = torch.randint(256, (2, 3, 3, 20, 20), dtype=torch.uint8)
    batches = [Batch(values, torch.zeros(2, 3, 4, 4, 4)) for values in (video, video.float() / 255, unit_pixels(video))]
    draws = draw(system, phase, 2, batches[0], torch.Generator())
    losses = [{name: loss.item() for name, loss in phase_losses(system, phase, batch, draws).items()} for batch in batches]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("bottleneck", CONFIGS)
def test_bf16_leaves_the_bottleneck_and_embeddings_alone(bottleneck):
    system = awake(config=CONFIGS[bottleneck])
    x, t = torch.randn(2, 2, 2, 32), torch.rand(2, 3) * 1000
    functions = [
        lambda: system.lam.quantizer(x).z_BAMZ,
        lambda: sum(system.lam.quantizer(x).losses().values()),
        lambda: system.world_model.stdit3.t_embedder(t),
        lambda: torch.stack(system.world_model.stdit3.rope(3)),
    ]
    exact = [function() for function in functions]
    with torch.autocast("cpu", torch.bfloat16):
        cast = [function() for function in functions]
    assert all(torch.equal(a, b) and b.dtype == torch.float32 for a, b in zip(exact, cast, strict=True))


@pytest.mark.parametrize("phase", PHASES)
def test_bf16_computes_in_bf16_and_its_losses_and_gradients_are_fp32(phase):
    system, row = awake(), PHASES[phase]
    learning = select_trainable(system, row)
    products = set()
    system.world_model.stdit3.spatial_blocks[0].mlp.fc1.register_forward_hook(lambda *values: products.add(values[2].dtype))
    system.lam.fdm.blocks[0].mlp.gate.register_forward_hook(lambda *values: products.add(values[2].dtype))
    batch = RandomBatches().at(0, 2, True)
    with torch.autocast("cpu", torch.bfloat16):
        losses = phase_losses(system, row, batch, draw(system, row, 2, batch, torch.Generator()))
    sum(losses.values()).backward()
    assert {loss.dtype for loss in losses.values()} == {torch.float32} and products == {torch.bfloat16}
    assert {p.grad.dtype for p in learning.values()} == {torch.float32}


class Compiler:
    """A backend that counts its graphs and runs them as they are."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph


@pytest.fixture
def compiler(monkeypatch):
    torch._dynamo.reset()
    made = Compiler()
    monkeypatch.setattr(devices, "BACKEND", made)
    yield made
    torch._dynamo.reset()


# Of the IDM's blocks the first adds the table of times and is a graph of its own; so is a warm-up's first spatial block, whose
# frozen inputs have no gradient.
GRAPHS = {"pretrain": 2, "lam": 2 + 1, "warmup": 2 + 1 + 3, "e2e": 2 + 1 + 2, "wm": 2 + 1 + 2}


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("phase", GRAPHS)
def test_equal_blocks_share_one_compiled_graph(compiler, phase, recompute):
    deep = CONFIG.model_copy(update={name: getattr(CONFIG, name).model_copy(update={"depth": 3}) for name in ("idm", "fdm", "stdit3")})
    made = Devices(DeviceConfig(compile=True, recompute=recompute))
    compiled = Trainer(awake(config=deep), PHASES[phase], TRAINING, RandomBatches(), 0, made)
    eager = Trainer(awake(config=deep), PHASES[phase], TRAINING, RandomBatches(), 0)
    pairs = zip(curve(compiled, 3), curve(eager, 3), strict=True)
    assert max(abs(a[name] - b[name]) for a, b in pairs for name in a) < 1e-5
    assert compiler.graphs == GRAPHS[phase]


@pytest.mark.slow
def test_compiled_and_differentiated_ahead_is_the_same(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(devices, "BACKEND", "aot_eager")
    compiled = curve(trainer_of("e2e", compile=True, recompute=True, attention={"time": "plain", "space": "math"}))
    pairs = zip(compiled, curve(trainer_of("e2e")), strict=True)
    assert max(abs(a[name] - b[name]) for a, b in pairs for name in a) < 1e-5


def test_kernels_go_to_the_attention_that_they_are_for(compiler):
    system = trainer_of("pretrain", compile=True, attention={"time": "plain", "space": "math"}).system
    kernels = {name: module.kernel for name, module in system.named_modules() if isinstance(module, Attention)}
    along = {"spatial": "math", "temporal": "plain", "fdm": "math", "action_adaln": "plain"}
    assert len(kernels) == 11
    assert all(kernel == next(own for word, own in along.items() if word in name) for name, kernel in kernels.items())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"attention": {"space": "flash"}}, "attention.space: 'flash' has no fp32"),
        ({"attention": {"time": "plain"}}, "attention.time: 'plain' is only of use where it is compiled"),
    ],
)
def test_a_kernel_that_does_not_fit_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        DeviceConfig(**config)
