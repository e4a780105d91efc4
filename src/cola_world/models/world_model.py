"""World model: STDiT3 driven by latent actions through action AdaLN, its flow loss and its sampler (paper 3.3, B.2).

Shape letters: B clips, T latent frames, A actions, G groups of them (= T - 1), Z values of an action, C channels, Y X latent
pixels. Without grouping G is A.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cola_world.models.action_adaln import ActionAdaLN
from cola_world.models.flow import FlowConfig, FlowDraws, drop_actions, flow_loss, noised, sample_timesteps, shift_of, shift_timesteps
from cola_world.models.stdit3 import STDiT3


class WorldModel(nn.Module):
    """p(o_{t+1} | o_t, z_t) in the VAE's latent space."""

    def __init__(self, stdit3: STDiT3, action_adaln: ActionAdaLN, flow: FlowConfig):
        super().__init__()
        self.stdit3, self.action_adaln, self.flow = stdit3, action_adaln, flow

    def draw(self, shape: tuple[int, ...], generator: torch.Generator, drop: bool) -> FlowDraws:
        """Draw the random numbers for latents of `shape` [B, T, C, Y, X]; with `drop`, also which actions are kept."""
        clips, frames = shape[:2]
        t_B = sample_timesteps(self.flow, clips, self.shift(frames, self.stdit3.side(*shape[-2:])), generator)
        eps = torch.randn(shape, generator=generator)
        return FlowDraws(t_B, eps, self.kept(clips, frames - 1, generator) if drop else None)

    def kept(self, clips: int, groups: int, generator: torch.Generator) -> Tensor:
        """Draw which groups of actions are kept [B, G]: some are dropped one by one, and some clips lose all of theirs."""
        keep_BG = torch.rand(clips, groups, generator=generator) >= self.flow.action_drop
        return keep_BG & (torch.rand(clips, 1, generator=generator) >= self.flow.clip_drop)

    def loss(self, x0_BTCYX: Tensor, z_BAZ: Tensor | None, draws: FlowDraws, fps_B: Tensor | None = None) -> Tensor:
        """Return the flow loss of each clip [B]. Without `z_BAZ` it is that of video alone, as in pre-training.

        `fps` are the clips' frames a second, the config's where they are not given.
        """
        x_t, t_BT = noised(x0_BTCYX, draws.eps_BTCYX, draws.t_B, self.flow.context_frames)
        z_BGZ = None if z_BAZ is None else self.action_adaln.group(z_BAZ)
        if z_BGZ is not None and draws.keep_BA is not None:
            z_BGZ = drop_actions(z_BGZ, draws.keep_BA)
        modulation = None if z_BGZ is None else self.action_adaln(z_BGZ)
        velocity = self.stdit3(x_t, 1000 * t_BT, modulation, fps_B=fps_B)
        return flow_loss(velocity, x0_BTCYX, draws.eps_BTCYX, self.flow.context_frames)

    def shift(self, frames: int, side: float) -> float:
        """Return how far timesteps move towards noise for clips of `frames` latent frames of side x side pixels."""
        return shift_of(self.flow, side, frames)

    def sample(self, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator, fps_B: Tensor | None = None) -> Tensor:
        """Imagine G + 1 latent frames from K clean ones and A actions -> [B, G + 1, C, Y, X]."""
        frames = z_BAZ.shape[1] // self.action_adaln.config.actions_per_latent_frame + 1
        noise = torch.randn(len(z_BAZ), frames, *context_BKCYX.shape[2:], generator=generator)
        return self.denoise(context_BKCYX, z_BAZ, noise, fps_B=fps_B)

    @torch.no_grad()
    def denoise(
        self, context_BKCYX: Tensor, z_BAZ: Tensor, noise_BTCYX: Tensor,
        steps: int | None = None, guidance: float | None = None, fps_B: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """`sample` with given noise for each of the T = G + 1 frames, of which the K clean ones ignore theirs: guided
        Euler steps from t = 1 to 0, the clean frames read once.

        `steps` and `guidance` are the config's if they are not given. Guidance 1 is the conditional model alone, at
        half the work. One step with guidance 1 is the model's mean prediction.
        """
        steps, guidance = steps or self.flow.sampling_steps, self.flow.guidance if guidance is None else guidance
        z_BGZ, context = self.action_adaln.group(z_BAZ), context_BKCYX.shape[1]
        # Conditional and unconditional halves in one batch. Guidance drops the actions of the context too, as
        # training does.
        halves = 1 if guidance == 1 else 2
        modulation = torch.cat((self.action_adaln(z_BGZ), *([self.unconditional(z_BGZ)] if halves == 2 else [])))
        rates = None if fps_B is None else fps_B.repeat(halves)
        past = self.stdit3.cache_context(context_BKCYX.repeat(halves, 1, 1, 1, 1), modulation[:, :context], rates)
        x = noise_BTCYX[:, context:].to(context_BKCYX)
        times = shift_timesteps(torch.linspace(1, 0, steps + 1), self.shift(noise_BTCYX.shape[1], self.stdit3.side(*x.shape[-2:])))
        for now, after in zip(times[:-1], times[1:], strict=True):
            t_BT = x.new_full((halves * len(x), x.shape[1]), 1000 * float(now))
            velocities = self.stdit3(x.repeat(halves, 1, 1, 1, 1), t_BT, modulation[:, context:], past, rates)
            with_action, without = velocities[: len(x)], velocities[-len(x) :]
            velocity = without + guidance * (with_action - without)
            x = x + velocity * (now - after)
        return torch.cat((context_BKCYX, x), dim=1)

    def unconditional(self, z_BGZ: Tensor) -> Tensor:
        """Return the modulation of guidance's unconditional half [B, T, 6, D]: without any action or, for `own`, each
        frame without the actions that lead to it.
        """
        if self.flow.unconditional == "all":
            return self.action_adaln(torch.zeros_like(z_BGZ))
        groups = z_BGZ.shape[1]
        kept_GG = 1 - torch.eye(groups, device=z_BGZ.device)
        dropped_BGGZ = z_BGZ[:, None] * kept_GG[..., None].to(z_BGZ)
        modulation = self.action_adaln(dropped_BGGZ.flatten(0, 1)).unflatten(0, (-1, groups))
        own = torch.arange(groups, device=z_BGZ.device)
        return F.pad(modulation[:, own, own + 1], (0, 0, 0, 0, 1, 0))

    def rollout(
        self, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator, window: int, fps_B: Tensor | None = None
    ) -> Iterator[Tensor]:
        """`sample` for any length: yields the imagined frames, [B, at most window - K, C, Y, X] at a time.

        Raises ValueError if a window of that many latent frames leaves no room behind its context.
        """
        size, context = self.action_adaln.config.actions_per_latent_frame, context_BKCYX.shape[1]
        if window <= context:
            raise ValueError(f"rollout: a window of {window} frames has no room behind {context} of context; at least {context + 1}")
        # not in paper: because the paper does not say how longer videos are imagined, a window is as long as a
        # training clip and begins with the last K frames of the one before.
        for start in range(0, z_BAZ.shape[1] // size + 1 - context, window - context):
            frames = self.sample(context_BKCYX, z_BAZ[:, start * size : (start + window - 1) * size], generator, fps_B)
            context_BKCYX = frames[:, -context:]
            yield frames[:, context:]
