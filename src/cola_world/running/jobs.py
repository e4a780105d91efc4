"""Run jobs in worker processes, several at a time, with progress. Workers die with the process that started them."""

import multiprocessing
import queue
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from cola_world.running.process import die_with_parent
from cola_world.running.progress import Bar, Progress

REPORT_EVERY_S = 0.5
LOST = "a worker process was killed, perhaps for memory; run again, it goes on from what was saved"
messages: multiprocessing.Queue


class Call(NamedTuple):
    """A function that a worker can import, and its arguments."""

    function: Callable[..., Any]
    arguments: tuple


def start_worker(channel: multiprocessing.Queue, threads: int | None) -> None:
    global messages
    die_with_parent()
    messages = channel
    if threads:
        import torch  # takes seconds, which a job without tensors need not wait for

        torch.set_num_threads(threads)


def threads_each(workers: int) -> int:
    """Return torch's threads for each of `workers`.

    Workers get a core each. A model that trains on one gains nothing from a second, whose threads wait for each other
    at every layer.
    """
    import torch

    return 1 if workers > 1 else torch.get_num_threads()


def reporter(job: Hashable) -> Progress:
    """Return the function by which a job in a worker reports (done, total). It may be called often; few calls are
    passed on.
    """
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > REPORT_EVERY_S:
            last = time.monotonic()
            messages.put((job, done))

    return progress


def run_jobs(
    jobs: Mapping[Hashable, Call], workers: int, label: str, length: int, threads: int | None = None,
    meanwhile: Callable[[], None] | None = None, lost: str = LOST,
) -> dict[Hashable, Any]:  # fmt: skip
    """Run all jobs, begun in order, and return their results. The first error is raised, and then no other job
    begins.

    `length`: progress of all jobs together. `threads`: torch's threads in each worker, if jobs use torch. `meanwhile`
    is called while the workers start. `lost` is the message for a worker that was killed.
    """
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    with ProcessPoolExecutor(max(1, min(workers, len(jobs))), context, start_worker, (channel, threads)) as pool, Bar(label) as bar:
        futures = {pool.submit(call.function, *call.arguments): job for job, call in jobs.items()}
        if meanwhile:
            meanwhile()
        follow(futures, channel, bar, length, lost)
        return {job: future.result() for future, job in futures.items()}


def follow(futures: Mapping[Future, Hashable], channel: multiprocessing.Queue, bar: Bar, length: int, lost: str) -> None:
    """Show the progress of the workers until all have ended or one has failed."""
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
                raise ValueError(lost) if isinstance(error, BrokenProcessPool) else error
