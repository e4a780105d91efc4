"""LPIPS of the package `lpips`, with a trunk from a verified file: the package alone would download it at its first use."""

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from cola_world.evaluation.metrics import FrameMetric
from cola_world.evaluation.protocol import Network
from cola_world.models.vision import import_with_torchvision

Trunk = Literal["alex", "vgg"]
# Height and width at which the last layer still has a pixel.
SMALLEST: dict[Trunk, int] = {"alex": 31, "vgg": 16}


def lpips(trunk: Trunk, state: dict[str, Tensor], sha256: str, device: torch.device | str = "cpu") -> FrameMetric:
    """`state`: that of torchvision's AlexNet or VGG16, of which the file has this sha256; ValueError where it does not fit."""
    model = lpips_model(trunk)
    own = model.net.state_dict()
    # The package cuts `features` into slices and keeps the numbers of its layers.
    taken = {name: state.get(f"features.{name.partition('.')[2]}") for name in own}
    wrong = [name for name, tensor in taken.items() if tensor is None or tensor.shape != own[name].shape]
    if wrong:
        raise ValueError(f"LPIPS ({trunk}): features.{wrong[0].partition('.')[2]} is missing or of another shape; is it {trunk}'s file?")
    model.net.load_state_dict(taken)
    # A CPU is faster with the channels last.
    model = model.to(device, memory_format=torch.channels_last)
    network = Network(name=f"lpips-{trunk}", sha256=sha256)

    def compare(generated_NCYX: Tensor, real_NCYX: Tensor) -> Tensor:
        return model(generated_NCYX, real_NCYX, normalize=True).flatten()

    return FrameMetric(f"video/lpips_{trunk}", f"LPIPS-{trunk}", compare, "package lpips 0.1", network, SMALLEST[trunk])


def lpips_model(trunk: Trunk) -> nn.Module:
    """The package's model with its learnt weights and a random trunk; nothing is downloaded, and no random number is used up."""
    package = import_with_torchvision("lpips")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The parameter 'pretrained'|Arguments other than a weight enum", UserWarning)
        return package.LPIPS(net=trunk, pnet_rand=True, verbose=False).requires_grad_(False)
