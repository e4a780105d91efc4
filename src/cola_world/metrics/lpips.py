"""LPIPS of the package `lpips`, with a trunk from a verified file. The package alone would download its trunk."""

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from cola_world.metrics.metric_types import FrameMetric
from cola_world.metrics.protocol import Network
from cola_world.models.torchvision_import import import_with_torchvision

Trunk = Literal["alex", "vgg"]
# Least height and width at which the last layer still has a pixel.
SMALLEST: dict[Trunk, int] = {"alex": 31, "vgg": 16}


def lpips(trunk: Trunk, state: dict[str, Tensor], sha256: str, device: torch.device | str = "cpu") -> FrameMetric:
    """`state` is that of torchvision's AlexNet or VGG16, whose file has this sha256. Raises ValueError if it does not
    fit.
    """
    model = lpips_model(trunk)
    own = model.net.state_dict()
    # The package cuts `features` into slices and keeps the numbers of the layers.
    taken = {name: state.get(f"features.{name.partition('.')[2]}") for name in own}
    wrong = [name for name, tensor in taken.items() if tensor is None or tensor.shape != own[name].shape]
    if wrong:
        raise ValueError(f"LPIPS ({trunk}): features.{wrong[0].partition('.')[2]} is missing or of another shape; is it {trunk}'s file?")
    model.net.load_state_dict(taken)
    # Channels last is faster on a CPU.
    model = model.to(device, memory_format=torch.channels_last)
    network = Network(name=f"lpips-{trunk}", sha256=sha256)

    def compare(generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
        return model(generated_NCYX, real_NCYX, normalize=True).flatten()

    return FrameMetric(f"video/lpips_{trunk}", f"LPIPS-{trunk}", compare, "package lpips 0.1", network, SMALLEST[trunk])


def lpips_model(trunk: Trunk) -> nn.Module:
    """Build the model with its learnt weights and a random trunk, without a download and without using up random
    numbers.
    """
    package = import_with_torchvision("lpips")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The parameter 'pretrained'|Arguments other than a weight enum", UserWarning)
        return package.LPIPS(net=trunk, pnet_rand=True, verbose=False).requires_grad_(False)
