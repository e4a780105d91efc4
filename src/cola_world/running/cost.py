"""What work costs. Each attempt keeps a record while it lasts, so that killed and failed ones count too."""

import json
import resource
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from cola_world.running.files import renamed, scratch

RENEW_EVERY_S = 5.0


class Attempt:
    """`with Attempt(folder, run=…) as attempt:` keeps a record in `folder`, renewed every few seconds.

    `attempt.steps` counts what is done. The outcome is `killed` until the attempt ends as `done` or `failed`. Without
    a folder nothing is kept.
    """

    def __init__(self, folder: Path | None, **what: Any):
        self.folder, self.what = folder, what
        self.steps, self.outcome = 0, "killed"
        self.ended = threading.Event()
        self.renewer = threading.Thread(target=self.renew, daemon=True)

    def __enter__(self) -> Self:
        self.name, self.started = f"{time.time_ns()}.json", time.monotonic()
        self.write()
        self.renewer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: Any) -> None:
        self.ended.set()
        self.renewer.join()
        ended_well = kind is None or (isinstance(error, SystemExit) and not error.code)
        self.outcome = "done" if ended_well else "failed"
        self.write()

    def renew(self) -> None:
        while not self.ended.wait(RENEW_EVERY_S):
            self.write()

    def record(self) -> dict[str, Any]:
        usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        spent = {"wall_s": round(time.monotonic() - self.started, 1), "peak_rss_mb": round(max(usage) / 1024)}
        return self.what | {"outcome": self.outcome, "steps": self.steps} | spent | accelerator()

    def write(self) -> None:
        # The work itself reports a full disk. Its cost is not worth a second error.
        if self.folder is not None:
            with suppress(OSError), renamed(self.folder / self.name) as partial:
                partial.write_text(json.dumps(self.record(), sort_keys=True) + "\n")


def accelerator() -> dict[str, Any]:
    """Return name and peak memory of the device, without importing torch for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {"device": "cpu", "peak_device_mb": 0}
    return {"device": torch.cuda.get_device_name(), "peak_device_mb": torch.cuda.max_memory_allocated() >> 20}


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the records of all attempts in `folder`, the oldest first."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def total(folder: Path) -> dict[str, Any]:
    """Sum up all attempts, with the outcome of the last."""
    records = read(folder)
    sums = {name: sum(record[name] for record in records) for name in ("wall_s", "steps")}
    peaks = {name: max(record[name] for record in records) for name in ("peak_rss_mb", "peak_device_mb")}
    return records[-1] | sums | peaks | {"wall_s": round(sums["wall_s"], 1), "attempts": len(records)}


def settle(folder: Path) -> None:
    """Delete the records of attempts whose total is kept elsewhere."""
    for path in folder.glob("*.json"):
        path.unlink()


def unfinished(root: Path) -> list[dict[str, Any]]:
    """Read the records of all attempts in the workspace `root` whose work was never finished."""
    folders = sorted(folder for folder in scratch(root).glob("*/*/attempts") if folder.is_dir())
    return [record for folder in folders for record in read(folder)]
