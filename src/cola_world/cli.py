"""The command `cola`: latent actions of a video, imagined video, a finished run as folders, the size and cost of a scale.

An error of the user is one line on stderr and exit code 2.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

# Importing torch takes seconds, which `cola --help` need not wait for: every command imports what it uses.


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help tells more\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: the program's own) -> exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return chosen.run(chosen) or 0
    except (ValueError, OSError) as error:
        print(f"cola {chosen.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def parser() -> Parser:
    cola = Parser(prog="cola", description=__doc__.partition("\n")[0])
    commands = cola.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_encode(commands.add_parser("encode-actions", help="latent actions of a video, one row a frame pair"))
    add_imagine(commands.add_parser("imagine", help="the video that a frame and latent actions lead to"))
    add_export(commands.add_parser("export", help="a finished run as folders that load in one line"))
    add_params(commands.add_parser("params", help="the parts of a scale's system and their parameters"))
    add_doctor(commands.add_parser("doctor", help="what a scale costs, what it needs, and what is missing"))
    return cola


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")


def add_encode(command: argparse.ArgumentParser) -> None:
    command.add_argument("video", type=Path, help="any video that FFmpeg reads")
    command.add_argument("--lam", required=True, help="folder of a latent action model, or owner/name on the hub")
    command.add_argument("--out", type=Path, required=True, help="table to write, .parquet")
    command.add_argument("--stride", type=at_least_one, default=1, help="frames from one to the next that is used; as in training")
    command.add_argument("--batch", type=at_least_one, default=16, help="windows at a time")
    add_device(command)
    command.set_defaults(run=encode_actions)


def encode_actions(chosen: argparse.Namespace) -> None:
    from cola_world.inference.actions import encode
    from cola_world.running.progress import Bar
    from cola_world.weights.hub import LatentActionModel, load

    existing(chosen.video)
    lam = to_device(load(LatentActionModel, chosen.lam), chosen.device)
    with Bar("actions") as bar:
        count = encode(chosen.video, lam, chosen.out, bar.update, chosen.stride, chosen.batch)
    print(f"{chosen.out}: {count} latent actions")


def add_imagine(command: argparse.ArgumentParser) -> None:
    command.add_argument("frame", type=Path, help="picture to start from")
    command.add_argument("--actions", type=Path, required=True, help="table of `cola encode-actions`")
    command.add_argument("--world-model", required=True, help="folder of a world model, or owner/name on the hub")
    command.add_argument("--vae", type=Path, help="folder of its VAE (default: `vae` beside the world model)")
    command.add_argument("--out", type=Path, required=True, help="video to write, .mp4")
    command.add_argument("--seed", type=int, default=0, help="of the sampler's noise")
    add_device(command)
    command.set_defaults(run=imagine_video)


def imagine_video(chosen: argparse.Namespace) -> None:
    from cola_world.inference.actions import read_actions
    from cola_world.inference.imagine import imagine
    from cola_world.models.vae import load_vae
    from cola_world.running.progress import Bar
    from cola_world.weights.hub import ActionWorldModel, load

    actions = read_actions(existing(chosen.actions))
    existing(chosen.frame)
    vae = chosen.vae or Path(chosen.world_model).parent / "vae"
    existing(vae / ("opensora.json" if (vae / "opensora.json").is_file() else "latent_statistics.json"))
    model = to_device(load(ActionWorldModel, chosen.world_model), chosen.device)
    with Bar("frames") as bar:
        count = imagine(chosen.frame, actions, model, to_device(load_vae(vae), chosen.device), chosen.out, bar.update, chosen.seed)
    print(f"{chosen.out}: {count} frames")


def add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="run", help="row of the runs table, such as e2e")
    command.add_argument("--seed", type=int, required=True)
    command.add_argument("--steps", type=at_least_one, help="snapshot in the paper's steps (default: the last)")
    command.add_argument("--to", type=Path, required=True, help="folder for lam, world_model and vae")
    command.add_argument("--root", type=Path, default=Path("."), help="the workspace (default: here)")
    command.set_defaults(run=export_run)


def export_run(chosen: argparse.Namespace) -> None:
    from cola_world.inference.export import export

    for folder in export(chosen.name, chosen.seed, chosen.to, chosen.root, chosen.steps):
        print(folder)


def add_params(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scale", default="paper", help="name of a profile (default: paper)")
    command.add_argument("--root", type=Path, default=Path("."), help="the workspace (default: here)")
    command.set_defaults(run=print_params)


def print_params(chosen: argparse.Namespace) -> None:
    from rich.console import Console

    from cola_world.doctor.parameters import table
    from cola_world.models.system import count_parts
    from cola_world.workspace.profile import read_profile

    Console().print(table(chosen.scale, count_parts(read_profile(chosen.scale, chosen.root).system)))


def add_doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--scale", help="name of a profile (default: that of params.yaml)")
    command.add_argument("--devices", type=at_least_one, help="equal devices (default: 8 at paper, else 1)")
    command.add_argument("--memory-gb", type=positive, help="of one device (default: 80 at paper, 24 at gpu, else this machine's)")
    command.add_argument("--peak-tflops", type=positive, help="of one device (default: 989, an H100 in bf16; on a CPU as measured)")
    command.add_argument("--mfu", type=positive, default=40, help="share of the peak that is used, in percent (default: 40)")
    command.add_argument("--root", type=Path, default=Path("."), help="the workspace (default: here)")
    command.set_defaults(run=print_doctor)


def print_doctor(chosen: argparse.Namespace) -> int:
    """Return 1 if something is missing or will not fit."""
    from rich.console import Console

    from cola_world.doctor.report import examine
    from cola_world.doctor.tables import show

    report = examine(chosen.root, chosen.scale, chosen.devices, chosen.memory_gb, chosen.peak_tflops, chosen.mfu)
    return show(report, Console())


def existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    return path


def to_device(model, device: str):
    """Move the model to `device` in evaluation mode. Raises ValueError if torch has no such device."""
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ValueError(f"--device {device}: {str(error).partition(chr(10))[0]}") from None


if __name__ == "__main__":
    sys.exit(main())
