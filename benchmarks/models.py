"""Our forms of the models against the straightforward forms of the public design, as ratios.

`public`: every frame modulated twice and one result picked, explicit softmax, both halves of guidance in one batch, the whole
clip at every step (`public_form`). `plain`: our model with explicit softmax; or our sampler that keeps nothing (`plain`).
Run: python -m benchmarks.models (about ten minutes on two cores); writes benchmarks/models.md.
"""

import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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
FRAMES = 8
LAM = {"image_size": 112, "patch_size": 14, "width": 768, "depth": 2, "heads": 12}
ACTION = 64
Work = Callable[[], object]


class Size(NamedTuple):
    """Of a world model, and the side of its latents."""

    width: int
    heads: int
    depth: int
    action_depth: int
    latent: int


# The paper's width, one pair of blocks deep, on 64 patches a frame; and a small one, on 16.
WIDE, SMALL = Size(1152, 16, 1, 6, 16), Size(64, 4, 3, 2, 8)


@functools.cache
def worlds(size: Size) -> tuple[WorldModel, PublicSTDiT3]:
    """Ours and the public form with equal weights."""
    torch.manual_seed(0)
    stdit3 = STDiT3(STDiT3Config(width=size.width, depth=size.depth, heads=size.heads, pixel_size=128))
    public = PublicSTDiT3(size.width, size.depth, size.heads)
    public.load_state_dict(stdit3.state_dict())
    action_adaln = ActionAdaLN(ActionAdaLNConfig(depth=size.action_depth, heads=size.heads), ACTION, size.width)
    return WorldModel(stdit3, action_adaln, FlowConfig()), public


def latents(size: Size, frames: int = FRAMES) -> Tensor:
    return torch.randn(1, frames, 4, size.latent, size.latent, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module, forward: Callable[[], Tensor]) -> Work:
    """Forward and backward of it."""

    def work() -> None:
        model.zero_grad(set_to_none=True)
        forward().square().mean().backward()

    return work


def without_gradients(forward: Callable[[], Tensor]) -> Work:
    return torch.no_grad()(forward)


def stdit3_pair(ours: bool, train: bool) -> Work:
    world, public = worlds(WIDE)
    x, action = latents(WIDE), torch.randn(1, FRAMES, 6, WIDE.width, generator=torch.Generator().manual_seed(1))
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


def sampler(size: Size, form: str, context: int) -> Work:
    """A clip of `FRAMES` frames behind `context` clean ones, ten steps, guided."""
    world, public = worlds(size)
    z = torch.randn(1, FRAMES - 1, ACTION, generator=torch.Generator().manual_seed(1))
    samplers = {
        "ours": world.sample,
        "without cache": functools.partial(sample_without_cache, world),
        "public": functools.partial(public_sample, public, world),
    }
    return lambda: samplers[form](latents(size, context), z, torch.Generator().manual_seed(2))


# Name -> both forms; each is made anew where its memory is measured.
CASES: dict[str, tuple[Callable[[], Work], Callable[[], Work]]] = {
    f"{name}, {'forward + backward' if train else 'forward'}": tuple(
        functools.partial(build, ours, train) for ours in (True, False)
    )
    for name, build in {"STDiT3 pair, public form": stdit3_pair, "IDM, plain form": idm, "FDM, plain form": fdm}.items()
    for train in (False, True)
} | {
    f"sampler, width {size.width}, {context} context frame{'s' * (context > 1)}, {form}": tuple(
        functools.partial(sampler, size, kind, context) for kind in ("ours", form)
    )
    for size in (WIDE, SMALL)
    for form in ("without cache", "public")
    for context in (1, 4)
}


HEADING = """# Models against the straightforward form of the public design

Made by `python -m benchmarks.models` on {threads} threads of a {machine} CPU, torch {torch}, fp32. STDiT3 at the
paper's width on clips of 8 frames of 128 px, one pair of blocks; two blocks of IDM and FDM at width 768, 112 px; the sampler (ten
steps, guidance 4) with that one pair of blocks, and with a small world model (width 64, three pairs, 16 patches).

The forms take turns in one process; the ratio is the median over turns of theirs over ours, and its quartiles follow. Peak memory
is that of a process of its own. *Public form*: both modulations and a mask, explicit softmax, both halves of guidance in one batch.
*Plain form*: ours with an explicit softmax. *Without cache*: ours with the clean frames read again at every step; keeping what they
leave can gain 8/7 behind one frame of eight, and 2 behind four.

The real code of Open-Sora v1.2 (17cce90) stood beside ours once, on one thread of a busy machine, latents of 32 x 32 or 16 x 16; theirs
over ours, in CPU time: the STDiT3 pair with one clean frame, forward and backward, 1.06 (1.04 to 1.08); `RFLOW.sample`, ten steps with
guidance, 1.23 (1.20 to 1.26) behind one clean frame of eight at 32 x 32 and 1.92 (1.87 to 1.94) behind four at 16 x 16.

| what | ours, ms | theirs, ms | ratio | quartiles | ours, MB | theirs, MB |
|---|---|---|---|---|---|---|
"""


def once(build: Callable[[], Work]) -> None:
    build()()


def row(name: str) -> str:
    ours, other = CASES[name]
    result = compare(ours(), other(), turns=7 if name.startswith("sampler, width 1152") else 15)
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
