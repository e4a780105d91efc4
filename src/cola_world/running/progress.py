"""Show progress with an estimate of the time left: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable

from rich import progress as rich

LINE_EVERY_S = 10.0
Progress = Callable[[int, int], None]  # called with (done, total)


class Bar:
    """`with Bar(name) as bar: bar.update(done, total)`."""

    def __init__(self, name: str):
        self.name, self.started, self.last = name, time.monotonic(), 0.0
        self.first: int | None = None
        self.bar = None
        if sys.stderr.isatty():
            columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
            self.bar = rich.Progress(*columns)
            self.task = self.bar.add_task(name, total=None)

    def __enter__(self) -> "Bar":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, total: int) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, total=total)
            return
        self.first = done if self.first is None else self.first
        now = time.monotonic()
        if now - self.last > LINE_EVERY_S or done == total:
            self.last = now
            rate = (done - self.first) / (now - self.started)
            left = f", about {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
            print(f"{self.name}: {done}/{total}{left}", file=sys.stderr, flush=True)
