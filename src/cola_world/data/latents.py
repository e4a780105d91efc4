"""The cache of latents: every frame, or clip, encoded once through every view. An interrupted call resumes.

Shape letters: V views, F frames of the clip cache, N clips, T frames of a clip, L latent frames, C channels, y x
latent pixels.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache
from cola_world.models.pixels import channels_first, unit_pixels
from cola_world.models.vae import VAE, load_vae
from cola_world.running.deadline import SAVE_EVERY_S, late, stopped
from cola_world.running.device import own_device
from cola_world.running.files import fingerprint, locked, renamed, scratch
from cola_world.running.progress import Progress

FRAMES_AT_A_TIME = 256


def cache_latents(
    clips: Path, vae: Path, out: Path, crop: int, views: int, progress: Progress, num_frames: int = 1
) -> None:
    """Encode every frame through every view into `out/latents.npy` [V, F, C, y, x], float16.

    Corpora for evaluation only are never cropped at random: they go through view 0 alone and have zeros in the
    others. A VAE that joins frames encodes clips of `num_frames` instead: [V, F, L, C, y, x] by the first frame of a
    clip, with zeros where no clip begins.
    """
    # A run reads the card alone, and the VAE's checksum in it tells its latents from those of another VAE.
    model, card = load_vae(vae).eval(), {"crop": crop, "views": views, "vae": checksum(vae)}
    if model.frames_per_latent > 1:
        card |= {"num_frames": num_frames, "frames_per_latent": model.frames_per_latent}
    folder = scratch() / "latents" / fingerprint(card, Path(__file__), clips / "card.json")
    with locked(folder):
        Encoding(ClipCache.open(clips), model, card, folder).run(progress)
        out.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "latents.npy", out / "latents.npy")
        (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        (folder / "done.json").unlink()


def checksum(vae: Path) -> str:
    """Hash the weights and statistics of the VAE. Its config is left out: it may name the folder it was read from."""
    return fingerprint(*sorted(path for path in vae.rglob("*") if path.is_file() and path.name != "config.json"))


class Encoding:
    """A file of latents in its full size, and how many of its parts are done, view by view."""

    def __init__(self, cache: ClipCache, model: VAE, card: dict[str, Any], folder: Path):
        self.cache, self.folder, self.views = cache, folder, Views(cache.frames.shape[1], card["crop"], card["views"])
        self.device = own_device()
        self.model = model.to(self.device)
        self.length = card.get("num_frames", 1)
        clips_NT = all_clips(cache, self.length)
        cropped_NT = clips_NT[~np.isin(cache.corpus_of(clips_NT), cache.evaluation_only)]
        at_a_time = max(1, FRAMES_AT_A_TIME // self.length)
        self.parts = [(view, part) for view in range(card["views"]) for part in chunks(cropped_NT if view else clips_NT, at_a_time)]

    def open(self) -> tuple[np.memmap, int]:
        """Open the file -> the file, and how many parts of it are done."""
        file, done = self.folder / "latents.npy", self.folder / "done.json"
        if file.exists() and done.exists():
            return np.lib.format.open_memmap(file, mode="r+"), json.loads(done.read_text())
        crop = self.views.crop
        shape = self.model.latent_shape(self.length, crop, crop)
        shape = shape if self.model.frames_per_latent > 1 else shape[1:]
        shape = (len(self.views.offsets), len(self.cache.frames), *shape)
        return np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape), 0

    def keep(self, latents: np.memmap, done: int) -> None:
        latents.flush()
        with renamed(self.folder / "done.json") as partial:
            partial.write_text(json.dumps(done))

    def run(self, progress: Progress) -> None:
        latents, done = self.open()
        saved, total = time.monotonic(), len(self.parts)
        for view, part_NT in self.parts[done:]:
            latents[view, part_NT[:, 0]] = self.encode(part_NT, view)
            done += 1
            stop = late() and done < total
            if stop or done == total or time.monotonic() - saved > SAVE_EVERY_S:
                self.keep(latents, done)
                saved = time.monotonic()
            if stop:
                raise stopped("latents", f"part {done} of {total}")
            progress(done, total)

    def encode(self, clips_NT: np.ndarray, view: int) -> np.ndarray:
        """Encode clips [N, L, C, y, x] or single frames [N, C, y, x] in float16."""
        crops = channels_first(self.views.cut(self.cache.frames, clips_NT, np.full(len(clips_NT), view)))
        latents = self.model.encode(unit_pixels(crops.to(self.device))).cpu().numpy().astype(np.float16)
        return latents if self.model.frames_per_latent > 1 else latents[:, 0]


def chunks(clips_NT: np.ndarray, size: int) -> list[np.ndarray]:
    return [clips_NT[start : start + size] for start in range(0, len(clips_NT), size)]


def all_clips(cache: ClipCache, length: int) -> np.ndarray:
    """Return frame indices [N, length] of every clip of an episode at its stride. Of length 1 these are all frames."""
    if length == 1:
        return np.arange(len(cache.frames))[:, None]
    steps = np.arange(length)
    episodes = cache.episodes[["offset", "frames", "stride"]].to_numpy()
    starts = [(offset + np.arange(max(0, frames - (length - 1) * stride)), stride) for offset, frames, stride in episodes]
    return np.concatenate([begin[:, None] + stride * steps for begin, stride in starts])
