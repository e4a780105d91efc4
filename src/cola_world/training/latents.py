"""The cache of latents: every frame, or clip, through every crop view, encoded once. It goes on where it was stopped.

Shape letters: V views, F frames of the clip cache, N clips, T frames of a clip, L latent frames, C channels, y x latent pixels.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cola_world.data.clips import ClipCache
from cola_world.deadline import late, stopped
from cola_world.files import fingerprint, locked, renamed, scratch
from cola_world.models.idm import unit_pixels
from cola_world.models.vae import VAE, load_vae
from cola_world.training.batches import Views, channels_first
from cola_world.training.devices import own_device

SAVE_EVERY_S = 20.0
FRAMES_AT_A_TIME = 256


def cache_latents(
    clips: Path, vae: Path, out: Path, crop: int, count: int, progress: Callable[[int, int], None], num_frames: int = 1
) -> None:
    """Encode every frame through every view into `out/latents.npy` [V, F, C, y, x], float16.

    Corpora for evaluation only are never cropped at random: they go through view 0 alone and have zeros in the others.
    A VAE that joins frames encodes each clip of `num_frames` instead: [V, F, L, C, y, x] by the clip's first frame, zeros at
    those where no clip begins.
    """
    model, card = load_vae(vae).eval(), {"crop": crop, "views": count}
    if model.frames_per_latent > 1:
        card |= {"num_frames": num_frames, "frames_per_latent": model.frames_per_latent}
    made_of = [json.dumps(card), Path(__file__), clips / "card.json", *sorted(path for path in vae.iterdir() if path.is_file())]
    folder = scratch() / "latents" / fingerprint(*made_of)
    with locked(folder):
        Encoding(ClipCache.open(clips), model, card, folder).run(progress)
        out.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "latents.npy", out / "latents.npy")
        (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        (folder / "done.json").unlink()


class Encoding:
    """Latents in a file of their full size, and how many of its parts, view by view, are done."""

    def __init__(self, cache: ClipCache, model: VAE, card: dict[str, int], folder: Path):
        self.cache, self.folder, self.views = cache, folder, Views(cache.frames.shape[1], card["crop"], card["views"])
        self.device = own_device()
        self.model = model.to(self.device)
        self.length = card.get("num_frames", 1)
        clips_NT = all_clips(cache, self.length)
        cropped_NT = clips_NT[~np.isin(cache.corpus_of(clips_NT), cache.evaluation_only)]
        self.parts = [(view, part) for view in range(card["views"]) for part in self.split(cropped_NT if view else clips_NT)]

    def split(self, clips_NT: np.ndarray) -> list[np.ndarray]:
        size = max(1, FRAMES_AT_A_TIME // self.length)
        return [clips_NT[start : start + size] for start in range(0, len(clips_NT), size)]

    def open(self) -> tuple[np.memmap, int]:
        """The file, and how much of it is done."""
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

    def run(self, progress: Callable[[int, int], None]) -> None:
        latents, done = self.open()
        saved, total = time.monotonic(), len(self.parts)
        while done < total:
            view, part_NT = self.parts[done]
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
        """Latents of clips [N, L, C, y, x], or of single frames [N, C, y, x], float16."""
        crops = channels_first(self.views.cut(self.cache.frames, clips_NT, np.full(len(clips_NT), view)))
        latents = self.model.encode(unit_pixels(crops.to(self.device))).cpu().numpy().astype(np.float16)
        return latents if self.model.frames_per_latent > 1 else latents[:, 0]


def all_clips(cache: ClipCache, length: int) -> np.ndarray:
    """Frame indices [N, length] of every clip that an episode holds, at its stride; of length 1 these are all frames."""
    if length == 1:
        return np.arange(len(cache.frames))[:, None]
    steps = np.arange(length)
    episodes = cache.episodes[["offset", "frames", "stride"]].to_numpy()
    starts = [(offset + np.arange(max(0, frames - (length - 1) * stride)), stride) for offset, frames, stride in episodes]
    return np.concatenate([begin[:, None] + stride * steps for begin, stride in starts])
