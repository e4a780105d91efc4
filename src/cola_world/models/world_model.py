"""World model: STDiT3 driven by latent actions through action AdaLN, its flow loss and its sampler (paper 3.3, B.2).

Shape letters: B clips, T latent frames, A actions, G groups of them (= T - 1), Z values of an action, C channels, Y X latent
pixels. Without grouping G is A.
"""

from collections.abc import Iterator

import torch
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
        t_B = sample_timesteps(self.flow, clips, self.shift(frames), generator)
        eps = torch.randn(shape, generator=generator)
        # Whole groups are dropped, one per latent frame, so that training meets the unconditional case of guidance.
        keep = torch.rand(clips, frames - 1, generator=generator) >= self.flow.action_drop if drop else None
        return FlowDraws(t_B, eps, keep)

    def loss(self, x0_BTCYX: Tensor, z_BAZ: Tensor | None, draws: FlowDraws) -> Tensor:
        """Return the flow loss of each clip [B]. Without `z_BAZ` it is that of video alone, as in pre-training."""
        x_t, t_BT = noised(x0_BTCYX, draws.eps_BTCYX, draws.t_B, self.flow.context_frames)
        z_BGZ = None if z_BAZ is None else self.action_adaln.group(z_BAZ)
        if z_BGZ is not None and draws.keep_BA is not None:
            z_BGZ = drop_actions(z_BGZ, draws.keep_BA)
        modulation = None if z_BGZ is None else self.action_adaln(z_BGZ)
        velocity = self.stdit3(x_t, 1000 * t_BT, modulation)
        return flow_loss(velocity, x0_BTCYX, draws.eps_BTCYX, self.flow.context_frames)

    def shift(self, frames: int) -> float:
        """Return how far timesteps move towards noise for clips of `frames` latent frames."""
        return shift_of(self.flow, self.stdit3.config.pixel_size, frames)

    def sample(self, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator) -> Tensor:
        """Imagine G + 1 latent frames from K clean ones and A actions -> [B, G + 1, C, Y, X]."""
        frames = z_BAZ.shape[1] // self.action_adaln.config.actions_per_latent_frame + 1
        return self.denoise(context_BKCYX, z_BAZ, torch.randn(len(z_BAZ), frames, *context_BKCYX.shape[2:], generator=generator))

    @torch.no_grad()
    def denoise(self, context_BKCYX: Tensor, z_BAZ: Tensor, noise_BTCYX: Tensor) -> Tensor:
        """`sample` with given noise for each of the T = G + 1 frames, of which the K clean ones ignore theirs: guided
        Euler steps.

        The clean frames see neither the noised ones nor the denoising step, so they go through the model once.
        """
        z_BGZ, context = self.action_adaln.group(z_BAZ), context_BKCYX.shape[1]
        # Conditional and unconditional halves in one batch. Guidance drops the actions of the context too, as
        # training does.
        modulation = torch.cat((self.action_adaln(z_BGZ), self.action_adaln(torch.zeros_like(z_BGZ))))
        past = self.stdit3.cache_context(context_BKCYX.repeat(2, 1, 1, 1, 1), modulation[:, :context])
        x = noise_BTCYX[:, context:].to(context_BKCYX)
        times = shift_timesteps(torch.linspace(1, 0, self.flow.sampling_steps + 1), self.shift(noise_BTCYX.shape[1]))
        for now, after in zip(times[:-1], times[1:], strict=True):
            t_BT = x.new_full((2 * len(x), x.shape[1]), 1000 * float(now))
            both = self.stdit3(x.repeat(2, 1, 1, 1, 1), t_BT, modulation[:, context:], past)
            with_action, without = both.chunk(2)
            velocity = without + self.flow.guidance * (with_action - without)
            x = x + velocity * (now - after)
        return torch.cat((context_BKCYX, x), dim=1)

    def rollout(self, context_BKCYX: Tensor, z_BAZ: Tensor, generator: torch.Generator, window: int) -> Iterator[Tensor]:
        """`sample` for any length: yields the imagined frames, [B, at most window - K, C, Y, X] at a time.

        Raises ValueError if a window of that many latent frames leaves no room behind its context.
        """
        size, context = self.action_adaln.config.actions_per_latent_frame, context_BKCYX.shape[1]
        if window <= context:
            raise ValueError(f"rollout: a window of {window} frames has no room behind {context} of context; at least {context + 1}")
        # not in paper: because the paper does not say how longer videos are imagined, a window is as long as a
        # training clip and begins with the last K frames of the one before.
        for start in range(0, z_BAZ.shape[1] // size + 1 - context, window - context):
            frames = self.sample(context_BKCYX, z_BAZ[:, start * size : (start + window - 1) * size], generator)
            context_BKCYX = frames[:, -context:]
            yield frames[:, context:]
