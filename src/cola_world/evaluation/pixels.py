"""What the pixels of a frame pair show by themselves, without a network that has learnt.

Shape letters: N clips, T frames, A pairs of a clip (= T - 1), C colour channels, Y X pixels, F features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

STILL = 1 / 255  # mean difference per pixel that counts as none: the step of a byte
SIDE = 32  # pixels: larger pictures are shrunk, so that motion between two frames stays a few pixels
FLOW_CELLS, DIFFERENCE_CELLS = 4, 8  # to a side
FLAT = 1e-5  # of the squared gradient: where a picture is flatter, it shows no flow


def frame_change(video_NTCYX: Tensor) -> Tensor:
    """Return the logarithm of how much the picture changes, RGB in [0, 1] -> [N, A], from log(1/255) to about 0.

    not in paper: because it asks for signed actions only, a latent action that tells how much moves and not where to
    would show nothing. The mean absolute difference of the pixels is skewed, and its logarithm is not.
    """
    return (video_NTCYX.diff(dim=1).abs().mean((2, 3, 4)) + STILL).log()


def pixel_features(video_NTCYX: Tensor) -> Tensor:
    """Return optical flow and differences of each frame pair on coarse grids, RGB in [0, 1] -> [N, A, F].

    not in paper: because it has no ceiling, one is what a linear layer reads from pixels: the flow of Lucas and Kanade
    in each cell and how much the cell changes, and the mean difference of each colour in smaller cells.
    """
    video_NTCYX = shrunk(video_NTCYX)
    change_NACYX = video_NTCYX.diff(dim=1)
    middle_NACYX = (video_NTCYX[:, 1:] + video_NTCYX[:, :-1]) / 2
    difference = pooled(change_NACYX, DIFFERENCE_CELLS)
    amount = pooled(change_NACYX.abs().mean(2, keepdim=True), FLOW_CELLS)
    return torch.cat([part.flatten(2) for part in (flow(middle_NACYX, change_NACYX), amount, difference)], 2)


def shrunk(video_NTCYX: Tensor) -> Tensor:
    if video_NTCYX.shape[-1] <= SIDE:
        return video_NTCYX
    frames = F.interpolate(video_NTCYX.flatten(0, 1), size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return frames.unflatten(0, video_NTCYX.shape[:2])


def flow(middle_NACYX: Tensor, change_NACYX: Tensor) -> Tensor:
    """Return the motion of each cell in pixels, x and y: [N, A, 2, cells, cells]. It solves least squares over all
    pixels and colours of the cell.
    """
    gy, gx = torch.gradient(middle_NACYX, dim=(3, 4))
    products = (gx * gx, gx * gy, gy * gy, gx * change_NACYX, gy * change_NACYX)
    xx, xy, yy, xt, yt = pooled(torch.stack([product.sum(2) for product in products], 2), FLOW_CELLS).unbind(2)
    xx, yy = xx + FLAT, yy + FLAT
    return torch.stack((xy * yt - yy * xt, xy * xt - xx * yt), 2) / (xx * yy - xy * xy)[:, :, None]


def pooled(values_NACYX: Tensor, cells: int) -> Tensor:
    return F.adaptive_avg_pool2d(values_NACYX.flatten(0, 1), cells).unflatten(0, values_NACYX.shape[:2])
