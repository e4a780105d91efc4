"""Makes the folders that training leaves behind, with curves of a chosen shape in place of training."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from cola_world.reporting.metrics import METRICS
from cola_world.reporting.tables import stand_in

PAPER = Path(__file__).resolve().parents[2] / "data" / "paper"

Health = Callable[[float, int], float]  # (progress in [0, 1], seed) -> share of entropy in [0, 1]
MODULES = {"idm": 172_032, "quantizer": 1024, "fdm": 160_512, "action_adaln": 220_032, "stdit3": 841_216}


def healthy(t: float, seed: int) -> float:
    return 0.3 + 0.25 * min(1.0, 4 * t) + 0.01 * seed


def collapsing(t: float, seed: int) -> float:
    return 0.30 + 1.5 * t if t < 0.1 else max(0.0, 0.45 - 1.5 * (t - 0.1)) * (1 + 0.02 * seed)


def dipping(t: float, seed: int) -> float:
    return max(0.15, 0.55 - 3 * t) + 0.15 * max(0.0, t - 0.3) + 0.004 * seed


def reaching(level: float) -> Health:
    return lambda t, seed: level * (0.85 + 0.15 * t) + 0.005 * seed


RUNS: dict[str, tuple[int, int, Health]] = {
    "lam": (0, 30000, healthy),
    "fdm_without_actions": (0, 30000, lambda t, seed: 0.0),
    "warmup": (0, 8000, lambda t, seed: 0.2 + 0.35 * t + 0.01 * seed),
    "e2e": (8000, 22000, reaching(0.6)),
    "e2e_from_1000": (1000, 22000, reaching(0.25)),
    "e2e_from_2000": (2000, 22000, reaching(0.35)),
    "e2e_from_4000": (4000, 22000, reaching(0.5)),
    "naive_random": (0, 30000, collapsing),
    "naive_pretrained_idm": (0, 30000, dipping),
    "both_random": (0, 30000, lambda t, seed: 0.35 + 0.1 * t + 0.02 * seed),
}
# What tables and figures are measured of, for one seed.
MEASURED: dict[str, tuple[int, int, Health]] = {
    "wm_lam30k": (0, 52000, reaching(0.5)),
    "wm_lam8k": (0, 52000, reaching(0.5)),
    "e2e_long": (8000, 52000, reaching(0.6)),
    "pure_warmup": (0, 30000, reaching(0.5)),
    "frozen_lam": (8000, 22000, reaching(0.5)),
    **{f"depth_{depth}": (8000, 22000, reaching(0.5)) for depth in (6, 12, 20)},
    "e2e_b64": (15000, 20000, reaching(0.5)),
    "e2e_b96": (12000, 20000, reaching(0.5)),
    "continuous_2stage": (0, 30000, reaching(0.5)),
    "continuous_joint": (4000, 30000, reaching(0.5)),
}
CURVES = {"e2e_long": 0.5, "frozen_lam": 0.6, "depth_6": 0.9, "depth_12": 0.8, "depth_20": 0.7, "pure_warmup": 1.0}
PLATEAU = {"frozen_lam": 0.42}


def metrics(entropy: float, noise: float) -> dict[str, float]:
    """Codebook numbers that belong together: the fewer codes, the lower the entropy and the larger the commonest."""
    entropy = min(1.0, max(0.0, entropy + noise))
    return {
        "codebook/utilization": max(1 / 32, round(32 * entropy) / 32),
        "codebook/max_usage": max(1 / 32, 1 - entropy**0.7),
        "codebook/entropy": entropy * math.log(32),
        "codebook/entropy_normalized": entropy,
        "flow_loss": 0.08 - 0.02 * entropy,
        **gap("shuffle_gap", 0.01 * entropy),
    }


def gap(name: str, value: float) -> dict[str, float]:
    """A gap whose interval does not reach 0 unless it is none."""
    return {name: value, f"{name}_low": 0.5 * value, f"{name}_high": 1.5 * value}


def pixel_metrics(t: float, entropy: float) -> dict[str, float]:
    """An FDM's numbers: the error of 0.5 falls to 0.4 by itself and, with the help of codes, further."""
    error = 0.5 - 0.1 * t
    if entropy == 0:
        return {"pixel_mse": error}
    return {"pixel_mse": error - 0.1 * entropy, **gap("pixel_gap", 0.02 * entropy)}


def numbers(run: str, t: float, entropy: float, noise: float) -> dict[str, float]:
    """Health and losses of a run, as its phase has them."""
    if run == "fdm_without_actions":
        return pixel_metrics(t, 0.0)
    found = metrics(entropy, noise)
    if run not in ("lam", "continuous_lam"):
        return found
    flow = [name for name in found if not name.startswith("codebook/")]
    return {name: value for name, value in found.items() if name not in flow} | pixel_metrics(t, entropy)


def write_run(root: Path, run: str, seeds: list[int], log_every: int = 5000, scale: str = "cpu", health: Health | None = None) -> None:
    start, steps, shape = (RUNS | MEASURED)[run]
    folder, shape = root / "runs" / run, health or shape
    (folder / "metrics").mkdir(parents=True)
    for seed in seeds:
        noise = np.random.default_rng(seed + 1000 * [*sorted(RUNS), *MEASURED].index(run))
        lines = ["step,metric,value"]
        for step in sorted({*range(0, steps, log_every), steps}):
            values = numbers(run, step / steps, shape(step / steps, seed), noise.normal(0, 0.006))
            lines += [f"{start + step},{name},{value:.6g}" for name, value in sorted(values.items())]
        (folder / "metrics" / f"seed{seed}.csv").write_text("\n".join(lines) + "\n")
    phase = run.split("_")[0] if run in ("lam", "warmup") else "e2e"
    about = {
        "run": run,
        "phase": phase,
        "scale": scale,
        "steps": steps,
        "start_step": start,
        "steps_per_paper_step": 0.04,
        "parents": ["pretrain@60000"] if start == 0 else ["pretrain@60000", f"warmup@{start}"],
        "protocol": "256 fixed held-out clips of 3 frames, 2 actions each, 2 tokens an action",
        "parameters": MODULES,
    }
    cost = {
        "wall_s": 41.5, "attempts": 1, "outcome": "done", "steps": 1200, "samples": 19200, "flops": 10**15,
        "peak_rss_mb": 610, "peak_device_mb": 0, "device": "cpu", "devices": 1, "commit": "0123456789",
    }  # fmt: skip
    dump(folder / "run.json", about)
    dump(folder / "cost.json", {"run": run, "seeds": {str(seed): cost for seed in seeds}})
    training = {"batch_size": 16, "learning_rate": 0.001, "rise": 80}
    dump(root / "runs" / "plan" / f"{run}.json", {"run": run, "seeds": seeds, "training": training})


def write_plan(root: Path, seeds: list[int], scale: str = "cpu") -> None:
    plan = {
        "scale": scale,
        "seeds": seeds,
        "warmup_steps": 8000,
        "warmup_sweep": [1000, 2000, 4000],
        "steps_per_paper_step": 0.04,
        "data": {"sawyer": 0.1875, "fetch": 0.1875, "adroit": 0.625},
        "notes": ["no corpus of the group 'agibot' at this scale: its share goes to the others"],
    }
    dump(root / "runs" / "plan" / "report.json", plan)
    choice = {"file": "src/cola_world/models/flow.py", "line": 1, "subject": "shift", "reason": "because it is left open."}
    dump(root / "runs" / "plan" / "open_choices.json", {"choices": [choice]})


def write_all(root: Path, seeds: list[int], log_every: int = 5000, scale: str = "cpu") -> None:
    write_plan(root, seeds, scale)
    for run in RUNS:
        write_run(root, run, seeds, log_every, scale)


def measured(seeds: list[int], heavy: list[int] | None = None) -> list[tuple]:
    """(run, snapshot, corpus, seed, metric, value): the paper's own tables, and curves that fall or rise as its figures do.

    Runs of `MEASURED` have the seeds `heavy`, the first alone where it is not said.
    """
    stand_ins = yaml.safe_load((PAPER / "standins.yaml").read_text())
    found = {}
    for row in csv.DictReader((PAPER / "tables.csv").open()):
        corpus, metric = stand_in(stand_ins, row["corpus"], row["metric"]), METRICS[row["metric"]]
        found[row["run"], int(row["snapshot"]), corpus, metric.ours[-1]] = float(row["value"]) / metric.scale
    for run, level in CURVES.items():
        for step in (2000, 4000, 8000, 12000, 16000, 20000, 24000, 28000, 30000):
            if step > MEASURED[run][0]:
                better = max(PLATEAU.get(run, 0.0), level * (1 - step / 60000))
                found.setdefault((run, step, "kitchen", "probe/l1"), 0.4 * better)
                for metric in [metric for name, metric in METRICS.items() if name.startswith("video/")]:
                    found.setdefault((run, step, "libero", metric.ours[-1]), 1 / better if metric.higher_is_better else better)
    for run, step, corpus, metric in list(found):
        if metric.startswith("video/"):
            found[run, step, corpus, f"{metric}_copied"] = 0.9 * found[run, step, corpus, metric]
        if metric == "probe/l1":
            loss, place = found[run, step, corpus, metric], (run, step, corpus)
            found |= {(*place, "probe/l1_median"): 2 * loss, (*place, "probe/skill"): 0.5, (*place, "probe/l1_high"): 1.1 * loss}
            found |= {(*place, "probe/r2_ridge/camera"): 0.13, (*place, "probe/skill/camera"): 0.07}
            found[*place, "probe/l1_low"] = 0.9 * loss
    # The FDM predicts worse than the world model by a fifth.
    for (run, step, corpus, metric), value in list(found.items()):
        known = [each.higher_is_better for each in METRICS.values() if metric in each.ours]
        if run == "wm_lam30k" and known:
            found[run, step, corpus, f"{metric}_fdm"] = value * (0.8 if known[0] else 1.2)
    heavy = seeds[:1] if heavy is None else heavy
    return [(*key[:3], seed, key[3], value) for key, value in found.items() for seed in (heavy if key[0] in MEASURED else seeds)]


def write_measured(root: Path, seeds: list[int]) -> None:
    """The folders of the runs of `MEASURED`, and what was measured."""
    for run in MEASURED:
        write_run(root, run, seeds[:1])
    write_measurements(root, seeds)


def write_measurements(root: Path, seeds: list[int], heavy: list[int] | None = None) -> None:
    """`measured` as the files of the stages that measure."""
    columns = ["run", "snapshot", "corpus", "seed", "metric", "value"]
    rows = pd.DataFrame(measured(seeds, heavy), columns=columns).assign(protocol="synthetic")
    rows["kind"] = rows["metric"].str.partition("/")[0].map({"probe": "probe", "video": "evaluate"})
    for (kind, run), part in rows.groupby(["kind", "run"]):
        dump(root / "runs" / "plan" / kind / f"{run}.json", {})
        (root / "runs" / kind).mkdir(parents=True, exist_ok=True)
        part.drop(columns="kind").to_csv(root / "runs" / kind / f"{run}.csv", index=False)


def write_ceilings(root: Path, seed: int) -> None:
    """Rows of the ceilings of one corpus, the camera's alone."""
    header = "run,snapshot,corpus,seed,metric,value,protocol"
    rows = [f"{name},0,sawyer,{seed},probe/r2_ridge/camera,{value},flow" for name, value in (("pixels", 0.91), ("supervised_idm", 0.82))]
    rows.append(f"supervised_idm,0,sawyer,{seed},probe/skill/camera,-0.001,flow")
    (root / "runs" / "ceilings").mkdir(parents=True)
    (root / "runs" / "ceilings" / "ceilings.csv").write_text("\n".join([header, *rows]) + "\n")
    dump(root / "runs" / "plan" / "ceilings.json", {"scale": "cpu"})


def dump(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
