"""`dvc repro` that leaves nothing behind: run by `make repro`, or python -m stages.repro [arguments of dvc repro].

However make, this process or DVC ends, SIGKILL included, every process below it ends too, so that the next call finds
neither a lock nor a second writer. At the end it prints the total time and the peak memory of all processes together.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SAMPLE_EVERY_S = 2.0


def set_process_option(option: int, value: int) -> None:
    """prctl(2); only Linux has it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(option, value)


def end_with_launcher() -> None:
    """Turn the death of make into a SIGTERM for this process, and take in the orphans of processes below."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(end_descendants() or 143))
    set_process_option(PR_SET_PDEATHSIG, signal.SIGTERM)
    set_process_option(PR_SET_CHILD_SUBREAPER, 1)
    if os.environ.get("LAUNCHED_BY", str(os.getppid())) != str(os.getppid()):  # it died before the request was made
        sys.exit(143)


def children() -> dict[int, list[int]]:
    """Parent -> children of every process of this machine; empty where there is no /proc."""
    table: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        table.setdefault(int(after_name[1]), []).append(int(path.parent.name))
    return table


def descendants() -> list[int]:
    table, found, todo = children(), [], [os.getpid()]
    while todo:
        below = table.get(todo.pop(), [])
        found += below
        todo += below
    return found


def end_descendants() -> None:
    """SIGKILL all processes below, again and again until none is left: one of them may be starting another."""
    while below := descendants():
        for process in below:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue


def memory_mb(process: int) -> float:
    """Proportional resident memory, in which shared pages count once; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


class MemoryPeak(threading.Thread):
    """Watches how much memory all processes from this one down take together; the highest sum is `mb`."""

    def __init__(self):
        super().__init__(daemon=True)
        self.mb = 0.0

    def run(self) -> None:
        while True:
            self.mb = max(self.mb, sum(memory_mb(process) for process in [os.getpid(), *descendants()]))
            time.sleep(SAMPLE_EVERY_S)


def run_dvc(arguments: list[str]) -> tuple[int, float]:
    """Exit status of `dvc repro`, negative for the signal that ended it, and the peak memory in MB."""
    binaries = str(Path(sys.executable).parent)
    # Unlike some others bash becomes the stage's process, so that nothing stands between the stage and DVC.
    shell = shutil.which("bash") or "/bin/sh"
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}", "SHELL": shell}
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    # Before the process becomes DVC: from then on its own death follows from this one's.
    dvc = subprocess.Popen(command, env=environment, preexec_fn=lambda: set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL))
    peak = MemoryPeak()  # only now: a process with threads cannot safely run code between fork and exec
    peak.start()
    return dvc.wait(), peak.mb


def explain_failure() -> None:
    """Name the dial that is wrong, if one is: DVC says less when it cannot even read the pipelines with it."""
    from cola_world.workspace.profile import load  # it brings torch, which a run in good order does not need here

    try:
        load(Path("."))
    except ValueError as error:
        print(error, file=sys.stderr)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def main() -> int:
    end_with_launcher()
    # The terminal sends it to DVC as well, which ends in good order; DVC would inherit SIG_IGN, but not a handler.
    signal.signal(signal.SIGINT, lambda *_: None)
    start = time.monotonic()
    status, peak = run_dvc(sys.argv[1:])
    end_descendants()
    print(f"total time {duration(time.monotonic() - start)}, peak memory {peak / 1024:.1f} GB", flush=True)
    if status:
        explain_failure()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
