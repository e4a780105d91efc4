"""torchvision beside any build of torch: lpips and open_clip cannot be imported without it, diffusers can and better is.

Only torchvision's builds with CUDA are on the public registry. Beside a CPU build of torch their compiled operators do not load,
and importing torchvision fails over two that it describes without having them.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

# What torchvision 0.28 describes by name at its import. Declared and not implemented: nothing here calls them.
OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
PACKAGES = {"open_clip": "open-clip-torch"}
declared: list[torch.library.Library] = []  # a declaration lives as long as its object


def import_with_torchvision(name: str) -> ModuleType:
    """The module `name`, which imports torchvision; ValueError in one line where it is not installed."""
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
    """Packages imported in here take torchvision for missing, if nothing has imported it before."""
    if "torchvision" in sys.modules:
        yield
        return
    sys.modules["torchvision"] = None  # Python's own way to say that a module cannot be had
    try:
        yield
    finally:
        del sys.modules["torchvision"]
