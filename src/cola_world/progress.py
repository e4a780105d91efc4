"""Progress with an estimate of what is left: a bar on a terminal, a line now and then elsewhere."""

import sys
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class Bar:
    """`with Bar(name) as bar: bar.update(done, total)`."""

    def __init__(self, name: str):
        self.name, self.started, self.last = name, time.monotonic(), 0.0
        self.first: int | None = None
        self.rich = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.rich = Progress(*columns)
            self.task = self.rich.add_task(name, total=None)

    def __enter__(self) -> "Bar":
        if self.rich:
            self.rich.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.rich:
            self.rich.stop()

    def update(self, done: int, total: int) -> None:
        if self.rich:
            self.rich.update(self.task, completed=done, total=total)
            return
        self.first = done if self.first is None else self.first
        now = time.monotonic()
        if now - self.last > LINE_EVERY_S or done == total:
            self.last = now
            rate = (done - self.first) / (now - self.started)
            left = f", about {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
            print(f"{self.name}: {done}/{total}{left}", file=sys.stderr, flush=True)
