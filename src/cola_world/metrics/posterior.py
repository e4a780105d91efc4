"""Health of continuous latent actions: what their posterior says, and how much of it is used (paper D.5).

The paper gives no such numbers. They take the place of the codebook metrics.
Shape letters: N actions, M tokens of an action, Z token size.
"""

from torch import Tensor

from cola_world.models.continuous import action_kl

# A dimension whose mean varies by more than this over the data is active (Burda et al., 2016).
ACTIVE_VARIANCE = 0.01


def posterior_metrics(mean_NMZ: Tensor, log_variance_NMZ: Tensor) -> dict[str, float]:
    """Map means and log variances of a set of actions to a flat dict of metrics.

    `latent/kl`: nats per action, without the floor. `latent/active_units`: share of the M x Z dimensions that are
    active. `latent/std`: mean standard deviation of the posteriors (1: they say nothing). `latent/mean_std`: standard
    deviation of their means over the actions, averaged over dimensions (0: collapsed).
    """
    if len(mean_NMZ) < 2:
        raise ValueError(f"posterior metrics: {len(mean_NMZ)} actions were given; at least two are needed")
    mean, log_variance = mean_NMZ.double(), log_variance_NMZ.double()
    variance_MZ = mean.var(0)
    return {
        "latent/kl": action_kl(mean, log_variance).mean().item(),
        "latent/active_units": (variance_MZ > ACTIVE_VARIANCE).double().mean().item(),
        "latent/std": (log_variance / 2).exp().mean().item(),
        "latent/mean_std": variance_MZ.sqrt().mean().item(),
    }
