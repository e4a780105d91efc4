"""Our forms of the models against the straightforward forms of the public design, as ratios.

`public`: every frame modulated twice and one result picked, explicit softmax, guidance in two forwards, the whole clip at
every step (`public_form`). `plain`: our model with explicit softmax; or our sampler that keeps nothing (`plain`).
Run: python -m benchmarks.models (about ten minutes on two cores); writes benchmarks/models.md.
"""

import functools
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measuring import compare, peak_mb
from benchmarks.plain import plain, public_sample, sample_without_cache
from benchmarks.public_form import PublicSTDiT3
from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.idm import IDM, IDMConfig
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel

OUT = Path(__file__).with_suffix(".md")
FRAMES, LATENT = 8, 16  # 128-px clips, 64 patches a frame
# The paper's widths; one pair of STDiT3 blocks, two blocks of IDM and FDM, two pairs in the sampler.
WIDTH, HEADS = 1152, 16
LAM = {"image_size": 112, "patch_size": 14, "width": 768, "depth": 2, "heads": 12}
ACTION = 64
Work = Callable[[], object]


@functools.cache
def worlds(depth: int) -> tuple[WorldModel, PublicSTDiT3]:
    """Ours and the public form with equal weights."""
    torch.manual_seed(0)
    stdit3 = STDiT3(STDiT3Config(width=WIDTH, depth=depth, heads=HEADS, pixel_size=128))
    public = PublicSTDiT3(WIDTH, depth, HEADS)
    public.load_state_dict(stdit3.state_dict())
    action_adaln = ActionAdaLN(ActionAdaLNConfig(depth=6, heads=HEADS), ACTION, WIDTH)
    return WorldModel(stdit3, action_adaln, FlowConfig()).requires_grad_(True), public


def latents(frames: int = FRAMES) -> Tensor:
    return torch.randn(1, frames, 4, LATENT, LATENT, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module, forward: Callable[[], Tensor]) -> Work:
    """Forward and backward of it."""

    def work() -> None:
        model.zero_grad(set_to_none=True)
        forward().square().mean().backward()

    return work


def without_gradients(forward: Callable[[], Tensor]) -> Work:
    return torch.no_grad()(forward)


def stdit3_pair(ours: bool, train: bool) -> Work:
    world, public = worlds(depth=1)
    x, action = latents(), torch.randn(1, FRAMES, 6, WIDTH, generator=torch.Generator().manual_seed(1))
    t_B, noised = torch.tensor([500.0]), (torch.arange(FRAMES) >= 1)[None]
    if ours:
        return work_of(world.stdit3, lambda: world.stdit3(x, t_B[:, None] * noised, action), train)
    return work_of(public, lambda: public(x, t_B, noised, 10.0, 0.25, action, causal=True), train)


def idm(ours: bool, train: bool) -> Work:
    torch.manual_seed(0)
    model = IDM(IDMConfig(**LAM))
    model = model if ours else plain(model)
    video = torch.rand(1, FRAMES, 3, LAM["image_size"], LAM["image_size"])
    return work_of(model, lambda: model(video), train)


def fdm(ours: bool, train: bool) -> Work:
    torch.manual_seed(0)
    model = FDM(FDMConfig(**LAM))
    model = model if ours else plain(model)
    frames = torch.rand(FRAMES - 1, 3, LAM["image_size"], LAM["image_size"])
    actions = torch.randn(FRAMES - 1, ACTION)
    return work_of(model, lambda: model(frames, actions), train)


def work_of(model: nn.Module, forward: Callable[[], Tensor], train: bool) -> Work:
    return trained(model, forward) if train else without_gradients(forward)


def sampler(form: str, context: int) -> Work:
    """A clip of `FRAMES` frames behind `context` clean ones, ten steps, guided."""
    world, public = worlds(depth=2)
    z = torch.randn(1, FRAMES - 1, ACTION, generator=torch.Generator().manual_seed(1))
    samplers = {
        "ours": world.sample,
        "without cache": functools.partial(sample_without_cache, world),
        "public": functools.partial(public_sample, public, world),
    }
    return lambda: samplers[form](latents(context), z, torch.Generator().manual_seed(2))


# Name -> both forms; each is made anew where its memory is measured.
CASES: dict[str, tuple[Callable[[], Work], Callable[[], Work]]] = {
    f"{name}, {'forward + backward' if train else 'forward'}": tuple(
        functools.partial(build, ours, train) for ours in (True, False)
    )
    for name, build in {"STDiT3 pair, public form": stdit3_pair, "IDM, plain form": idm, "FDM, plain form": fdm}.items()
    for train in (False, True)
} | {
    f"sampler, {context} context frame{'s' * (context > 1)}, {form}": tuple(
        functools.partial(sampler, kind, context) for kind in ("ours", form)
    )
    for form in ("without cache", "public")
    for context in (1, 4)
}


HEADING = """# Models against the straightforward form of the public design

Made by `python -m benchmarks.models` on {threads} threads of a {machine} CPU, torch {torch}, fp32. STDiT3 at width 1152 on clips of
8 frames of 128 px: one pair of blocks, and two in the sampler (ten steps, guidance 4). Two blocks of IDM and FDM at width 768, 112 px.

The forms take turns in one process; the ratio is the median over turns of theirs over ours, and its quartiles follow. Peak memory
is that of a process of its own. *Public form*: both modulations and a mask, explicit softmax, guidance in two forwards. *Plain
form*: ours with an explicit softmax. *Without cache*: ours with the clean frames read again at every step; keeping what they
leave can gain 8/7 behind one frame of eight, and 2 behind four.

| what | ours, ms | theirs, ms | ratio | quartiles | ours, MB | theirs, MB |
|---|---|---|---|---|---|---|
"""


def once(build: Callable[[], Work]) -> None:
    build()()


def row(name: str) -> str:
    ours, other = CASES[name]
    result = compare(ours(), other(), turns=5 if name.startswith("sampler") else 15)
    memory = " | ".join(f"{peak_mb(functools.partial(once, build)):.0f}" for build in (ours, other))
    line = f"| {name} | {1e3 * result.ours_s:.0f} | {1e3 * result.other_s:.0f} | "
    return line + f"{result.ratio:.2f} | {result.low:.2f} to {result.high:.2f} | {memory} |"


def main() -> None:
    heading = HEADING.format(threads=torch.get_num_threads(), machine=platform.machine(), torch=torch.__version__)
    rows = []
    for name in CASES:
        rows.append(row(name))
        print(rows[-1], flush=True)
    OUT.write_text(heading + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
