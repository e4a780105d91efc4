"""Import torchvision beside any build of torch. lpips and open_clip need it; diffusers does better without it.

The public registry has torchvision built with CUDA only. Beside a CPU build of torch its compiled operators do not
load, and the import fails over two operators that it describes without having them.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

# The operators that torchvision 0.28 describes at import. They are declared here and not implemented; nothing calls
# them.
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
PACKAGES = {"open_clip": "open-clip-torch"}
declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


def import_with_torchvision(name: str) -> ModuleType:
    """Import the module `name`, which imports torchvision. Raises ValueError in one line if it is not installed."""
    try:
        import_torchvision()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{name}: the package {error.name} is not installed; pip install {PACKAGES.get(error.name, error.name)}") from None


def import_torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    declared.append(library)
    for operator in OPERATORS:
        library.define(operator + SIGNATURE)
    return importlib.import_module("torchvision")


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Make torchvision look absent to packages that are imported inside, unless it is imported already."""
    if "torchvision" in sys.modules:
        yield
        return
    sys.modules["torchvision"] = None  # how Python marks a module as not importable
    try:
        yield
    finally:
        del sys.modules["torchvision"]
