"""Jobs in worker processes, several at a time, with progress; workers die with the process that started them."""

import multiprocessing
import queue
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import torch

from cola_world.lifeline import die_with_parent
from cola_world.progress import Bar

REPORT_EVERY_S = 0.5
LOST = "a worker process was killed, perhaps for memory; run again, it goes on from what was saved"
Progress = Callable[[int, int], None]
messages: multiprocessing.Queue


class Call(NamedTuple):
    """A function that a worker can import, and what it is called with."""

    function: Callable[..., Any]
    arguments: tuple


def start_worker(channel: multiprocessing.Queue, threads: int) -> None:
    global messages
    die_with_parent()
    messages = channel
    torch.set_num_threads(threads)


def reporter(job: Hashable) -> Progress:
    """What a job in a worker calls with what is done of it, and of how much: as often as it likes, for few calls are passed on."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > REPORT_EVERY_S:
            last = time.monotonic()
            messages.put((job, done))

    return progress


def run_jobs(
    jobs: Mapping[Hashable, Call], workers: int, threads: int, label: str, length: int, meanwhile: Callable[[], None] | None = None
) -> dict[Hashable, Any]:
    """Result of every job; they begin in their order. The first one's error, if any fails, and then no other begins.

    `length`: of all jobs together, in the unit of their progress. `meanwhile` is called while the workers start.
    """
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    with ProcessPoolExecutor(max(1, min(workers, len(jobs))), context, start_worker, (channel, threads)) as pool, Bar(label) as bar:
        futures = {pool.submit(call.function, *call.arguments): job for job, call in jobs.items()}
        if meanwhile:
            meanwhile()
        follow(futures, channel, bar, length)
        return {job: future.result() for future, job in futures.items()}


def follow(futures: Mapping[Future, Hashable], channel: multiprocessing.Queue, bar: Bar, length: int) -> None:
    """Show the workers' progress until all have ended or one has failed."""
    done: dict[Hashable, int] = {}
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=REPORT_EVERY_S, return_when=FIRST_COMPLETED)
        while True:
            try:
                job, done[job] = channel.get_nowait()
            except queue.Empty:
                break
        if done:
            bar.update(sum(done.values()), length)
        for future in finished:
            if error := future.exception():
                for other in pending:
                    other.cancel()
                raise ValueError(LOST) if isinstance(error, BrokenProcessPool) else error
