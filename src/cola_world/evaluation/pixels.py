"""What the pixels of a frame pair show by themselves, without a network.

Shape letters: N clips, T frames, A pairs of a clip (= T - 1), C colour channels, Y X pixels.
"""

from torch import Tensor

STILL = 1 / 255  # mean difference per pixel that counts as none: the step of a byte


def frame_change(video_NTCYX: Tensor) -> Tensor:
    """Return the logarithm of how much the picture changes, RGB in [0, 1] -> [N, A], from log(1/255) to about 0.

    not in paper: because it asks for signed actions only, a latent action that tells how much moves and not where to
    would show nothing. The mean absolute difference of the pixels is skewed, and its logarithm is not.
    """
    return (video_NTCYX.diff(dim=1).abs().mean((2, 3, 4)) + STILL).log()
