"""What the benchmarks share: two forms of the same work, timed turn by turn in one process, and memory in one of its own.

A ratio says how many times faster the first form is; it comes with its spread, for a single time says little on a busy machine.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Work = Callable[[], object]


class Ratio(NamedTuple):
    """Medians of both forms in seconds, the median ratio of neighbouring turns, and its quartiles."""

    ours_s: float
    other_s: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        times = f"{1e3 * self.ours_s:9.1f} ms {1e3 * self.other_s:9.1f} ms"
        return f"{times} {self.ratio:6.2f}x  ({self.low:.2f} to {self.high:.2f})"


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(ours: Work, other: Work, turns: int = 15, warm_up: int = 2) -> Ratio:
    """Time both forms one after the other, `turns` times, so that a busy moment hits both."""
    for _ in range(warm_up):
        ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(turns)]
    ratios = [theirs / own for own, theirs in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    own, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Ratio(own, theirs, middle, low, high)


def peak_mb(work: Callable[[], None]) -> float:
    """Peak resident memory in MB of a fresh process that imports what `work` needs and does it once."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=report_peak, args=(work, sender))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work}: its process ended with exit code {process.exitcode}")
    return receiver.recv()


def report_peak(work: Callable[[], None], sender) -> None:
    """Of this program alone: what getrusage tells begins with the memory of the process that started it."""
    work()
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    sender.send(int(line.split()[1]) / 1024)
