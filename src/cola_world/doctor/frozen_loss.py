"""What the public STDiT3 is worth as it comes: its flow loss on the workspace's clips behind each of the public VAEs.

Shape letters: B clips, L latent frames, C channels, y x latent pixels.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cola_world.data.batches import Views
from cola_world.data.clips import ClipCache, ClipSampler
from cola_world.doctor.supplies import downloaded
from cola_world.models.autoencoder import encode_frames, read_sdxl
from cola_world.models.opensora_vae import MICRO_FRAMES, OpenSoraVAE
from cola_world.models.pixels import to_video
from cola_world.models.stdit3 import STDiT3
from cola_world.models.vae import PUBLIC_VAES
from cola_world.models.world_model import WorldModel
from cola_world.running.device import own_device
from cola_world.weights.public import PublicFile
from cola_world.weights.stdit3 import public_stdit3
from cola_world.workspace.profile import Profile

PRIOR, VAES, CLIPS = "stdit3", ("opensora_vae", "sdxl_vae"), 16


def frozen_losses(profile: Profile, rows: Mapping[str, PublicFile], weights: Mapping[str, float], root: Path) -> dict[str, str]:
    """Map each public VAE to the loss behind it, or to what is missing; nothing where the profile has no public prior.

    The loss is that of held-out clips of 17 frames, with the causal mask and without actions: what a warm-up starts
    from. `rows` is the table of weights, with the profile's own paths.
    """
    if PRIOR not in profile.weights:
        return {}
    paths = {name: root / row.path if (row := rows[name]).path else downloaded(row) for name in (PRIOR, *VAES)}
    absent = [f"weights.{name}" for name, path in paths.items() if path is None or not path.exists()]
    absent += [] if (root / "data/clips/card.json").is_file() else ["data/clips"]
    return {name: measured(profile, name, paths, weights, root, absent) for name in VAES}


def measured(
    profile: Profile, name: str, paths: Mapping[str, Path | None], weights: Mapping[str, float], root: Path, absent: list[str]
) -> str:
    needed = {f"weights.{PRIOR}", f"weights.{name}", "data/clips"}
    if missing := [what for what in absent if what in needed]:
        return f"not measured: {' and '.join(missing)} not here"
    try:
        losses = list(losses_behind(profile, name, paths, weights, root))
    except ValueError as error:
        return f"not measured: {error}"
    return f"{sum(losses) / len(losses):.4g}, {len(losses)} held-out clips of {MICRO_FRAMES} frames"


@torch.no_grad()
def losses_behind(
    profile: Profile, name: str, paths: Mapping[str, Path | None], weights: Mapping[str, float], root: Path
) -> Iterator[float]:
    """Yield the loss of each clip behind the VAE `name`."""
    cache, device = ClipCache.open(root / "data/clips"), own_device()
    sampler = ClipSampler(cache, num_frames=MICRO_FRAMES, weights=weights, split="val", seed=0)
    clips_NT = sampler.fixed(CLIPS)
    crops = Views(cache.frames.shape[1], profile.clips.crop, 1).cut(cache.frames, clips_NT, clips_NT[:, 0] * 0)
    latents, model = encoded(name, paths[name], to_video(crops), profile), prior(profile, paths[PRIOR]).to(device)
    generator, fps = torch.Generator().manual_seed(0), torch.from_numpy(cache.fps_of(clips_NT))
    for own_LCyx, rate in zip(latents, fps, strict=True):
        draws = model.draw((1, *own_LCyx.shape), generator, drop=False).each(lambda values: values.to(device))
        yield model.loss(own_LCyx[None].to(device), None, draws, rate[None].to(device)).item()


def prior(profile: Profile, path: Path) -> WorldModel:
    """Return the public STDiT3 with the causal mask on. No action is ever given, so that nothing stands for them."""
    stdit3 = STDiT3(profile.system.stdit3)
    stdit3.load_state_dict(public_stdit3(path, profile.system.stdit3).tensors, strict=False)
    stdit3.set_causal(True)
    return WorldModel(stdit3, nn.Identity(), profile.system.flow)


def encoded(name: str, path: Path, video_BTCYX: Tensor, profile: Profile) -> Tensor:
    """Encode the clips one by one [B, L, C, y, x]. SDXL's latents are normalised by their own statistics."""
    device = own_device()
    if PUBLIC_VAES[name] == "opensora":
        vae = OpenSoraVAE.read_public(path).to(device).eval()
        return torch.cat([vae.encode(clip[None].to(device)).cpu() for clip in video_BTCYX])
    autoencoder = read_sdxl(path, profile.vae.model).to(device)
    latents = torch.cat([encode_frames(autoencoder, clip[None].to(device)).cpu() for clip in video_BTCYX])
    return (latents - latents.mean((0, 1, 3, 4))[:, None, None]) / latents.std((0, 1, 3, 4))[:, None, None]
