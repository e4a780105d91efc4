"""Make the next batch in a thread while a GPU computes the current one."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from cola_world.data.batches import Batch
from cola_world.training.objective import Draws

# Clips of a step and their random numbers.
Material = tuple[Batch, Draws]


class Prefetched:
    """A function of (step, part) that makes its next value in a thread, in pinned memory, while a GPU computes."""

    def __init__(self, make: Callable[[int, slice], Material], parts: list[slice]):
        self.make, self.parts = make, parts
        self.thread = ThreadPoolExecutor(1)
        self.coming: dict[tuple[int, int], Future[Material]] = {}

    def __call__(self, step: int, part: slice) -> Material:
        """`part` is one of the parts, requested in order."""
        ready = self.coming.pop((step, part.start), None) or self.thread.submit(self.pinned, step, part)
        following = self.parts.index(part) + 1
        step, part = (step, self.parts[following]) if following < len(self.parts) else (step + 1, self.parts[0])
        self.coming = {(step, part.start): self.thread.submit(self.pinned, step, part)}
        return ready.result()

    def pinned(self, step: int, part: slice) -> Material:
        batch, draws = self.make(step, part)
        if not torch.cuda.is_available():
            return batch, draws
        return batch.each(torch.Tensor.pin_memory), draws.each(torch.Tensor.pin_memory)
