"""A supervised IDM: the network of the latent action model, taught the real actions of one corpus.

not in paper: because it has no ceiling, this is what a latent action of the same size, read by the same network, could
tell of real actions if it were told them. It has no quantiser.
Shape letters: N clips, T frames, A pairs of a clip, G targets, P pairs.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cola_world.evaluation.corpus_pairs import Split
from cola_world.models.lam import LAM, LAMConfig
from cola_world.models.layers import seeded
from cola_world.models.pixels import to_video
from cola_world.running.progress import Progress

BATCH, LEARNING_RATE = 16, 2e-3  # clips; the peak of a rate that rises and falls once


class SupervisedIDM(nn.Module):
    """The IDM of a latent action model, and a linear head that is dropped once it has been taught."""

    def __init__(self, config: LAMConfig, targets: int, seed: int):
        super().__init__()
        self.lam = LAM(config, seed, fdm=False)
        with seeded(seed, "head"):
            self.head = nn.Linear(config.action_size, targets)

    def read(self, video_NTCYX: Tensor) -> Tensor:
        """Return what stands in the place of a latent action: [N, A, values of one]."""
        video_NTCYX = video_NTCYX.to(self.head.weight.device)
        return self.lam.idm(self.lam.video(video_NTCYX)).flatten(2)

    def forward(self, video_NTCYX: Tensor) -> Tensor:
        return self.head(self.read(video_NTCYX))


def teach(model: SupervisedIDM, split: Split, wanted_PG: Tensor, steps: int, seed: int, progress: Progress) -> SupervisedIDM:
    """Train on all targets, normalised, by squared error, on crops as the latent action model sees them."""
    wanted_NAG = wanted_PG.unflatten(0, split.pairs.actions_NAD.shape[:2])
    learning = [*model.lam.idm.parameters(), *model.head.parameters()]
    optimizer = torch.optim.Adam(learning, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        chosen = rng.integers(len(split.pairs.clips_NT), size=BATCH)
        crops = split.views.cut(split.cache.frames, split.pairs.clips_NT[chosen], rng.integers(len(split.views.offsets), size=BATCH))
        loss = F.mse_loss(model(to_video(crops)), wanted_NAG[torch.from_numpy(chosen)])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    return model.eval()
