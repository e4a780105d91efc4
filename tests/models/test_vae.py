"""The VAEs behind one interface: shapes, normalisation, and weights that load name for name or not at all."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import OPENSORA, SPATIAL

from cola_world.models import autoencoder, opensora_vae
from cola_world.models.autoencoder import build_autoencoder, read_sdxl
from cola_world.models.opensora_vae import PUBLISHED, OpenSoraVAE
from cola_world.models.vae import FRAMES_PER_LATENT, FrameVAE, load_vae


def frame_vae() -> FrameVAE:
    torch.manual_seed(0)
    return FrameVAE(build_autoencoder(SPATIAL), mean=[0.1, 0.2, 0.3, 0.4], std=[1.0, 2.0, 3.0, 4.0]).eval()


def opensora() -> OpenSoraVAE:
    torch.manual_seed(0)
    return OpenSoraVAE(OPENSORA).eval()


@pytest.mark.parametrize(("build", "frames"), [(frame_vae, 3), (opensora, 5), (opensora, 17), (opensora, 22)])
def test_clips_to_latents_and_back(build, frames):
    model, video = build(), torch.rand(2, frames, 3, 8, 16)
    latents = model.encode(video)
    assert latents.shape == (2, *model.latent_shape(frames, 8, 16))
    decoded = model.decode(latents, frames)
    assert decoded.shape == video.shape and decoded.min() >= 0 and decoded.max() <= 1


def test_how_many_frames_a_latent_stands_for():
    assert frame_vae().frames_per_latent == FRAMES_PER_LATENT["small"] == FRAMES_PER_LATENT["sdxl"]
    assert opensora().frames_per_latent == FRAMES_PER_LATENT["opensora"]
    assert opensora().latent_shape(17, 256, 256)[0] == 5


def test_frames_are_coded_one_by_one_and_normalised():
    model, video = frame_vae(), torch.rand(2, 3, 3, 8, 8)
    latents = model.encode(video)
    raw = model.autoencoder.encode(2 * video[1, 2][None] - 1).latent_dist.mean[0]
    expected = (raw - torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None]) / torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    assert torch.allclose(latents[1, 2], expected, atol=1e-5)
    assert torch.equal(model.encode(video.flatten(0, 1)), latents.flatten(0, 1))


def test_frames_at_a_time_change_nothing(monkeypatch):
    model, video = frame_vae(), torch.rand(2, 3, 3, 8, 8)
    latents = model.encode(video)
    decoded = model.decode(latents)
    monkeypatch.setattr(autoencoder, "PIXELS_AT_A_TIME", 2 * 64)
    assert torch.allclose(model.encode(video), latents, atol=1e-6)
    assert torch.allclose(model.decode(latents), decoded, atol=1e-6)


def test_opensora_is_both_halves_with_its_constants():
    model, video = opensora(), torch.rand(1, 5, 3, 8, 8)
    spatial = torch.stack([model.spatial_vae["module"].encode(2 * frame - 1).latent_dist.mean for frame in video[0].split(1)], dim=2)
    temporal = model.temporal_vae.encode(0.18215 * spatial)
    shift, scale = torch.tensor([-0.10, 0.34, 0.27, 0.98]), torch.tensor([3.85, 2.32, 2.33, 3.06])
    expected = (temporal - shift.view(4, 1, 1, 1)) / scale.view(4, 1, 1, 1)
    assert torch.allclose(model.encode(video).transpose(1, 2), expected, atol=1e-5)


def test_opensora_codes_seventeen_frames_at_a_time():
    model, video = opensora(), torch.rand(1, 22, 3, 8, 8)
    latents = model.encode(video)
    assert latents.shape[1] == 5 + 2
    assert torch.allclose(latents[:, 5:], model.encode(video[:, 17:]), atol=1e-5)


def test_opensora_has_the_published_names_and_size():
    with torch.device("meta"):
        tensors = OpenSoraVAE(PUBLISHED).state_dict()
    assert {name.split(".")[0] for name in tensors} == {"scale", "shift", "spatial_vae", "temporal_vae"}
    assert tensors["scale"].shape == tensors["shift"].shape == (1, 4, 1, 1, 1)
    assert tensors["spatial_vae.module.encoder.mid_block.attentions.0.to_q.weight"].shape == (512, 512)
    spatial = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("spatial_vae."))
    assert spatial == 83_653_863
    assert sum(tensor.numel() for tensor in tensors.values()) == 83_653_863 + 309_687_144 + 8


def test_a_saved_opensora_vae_is_the_same(tmp_path):
    model, video = opensora(), torch.rand(1, 5, 3, 8, 8)
    model.save(tmp_path)
    again = load_vae(tmp_path)
    assert isinstance(again, OpenSoraVAE) and torch.equal(again.eval().encode(video), model.encode(video))


def test_the_public_file_loads_from_its_folder_or_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(opensora_vae, "PUBLISHED", OPENSORA)
    model, file = opensora(), tmp_path / "model.safetensors"
    save_file(model.state_dict(), file)
    for path in (file, tmp_path):
        again = OpenSoraVAE.read_public(path)
        assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (lambda tensors: tensors.pop("scale"), "scale"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra"),
        (lambda tensors: tensors.update(shift=torch.zeros(4)), "shift"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, monkeypatch, damage, wrong):
    monkeypatch.setattr(opensora_vae, "PUBLISHED", OPENSORA)
    tensors = dict(opensora().state_dict())
    damage(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"model.safetensors does not fit: {wrong} and 0 others"):
        OpenSoraVAE.read_public(tmp_path)


def test_missing_weights_are_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="sdxl.safetensors does not exist; put the public weights there"):
        read_sdxl(tmp_path / "sdxl.safetensors", SPATIAL)


def test_sdxl_from_a_folder_or_its_file(tmp_path):
    torch.manual_seed(0)
    model = build_autoencoder(SPATIAL)
    model.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    assert load_file(file).keys() == model.state_dict().keys()
    for again in (read_sdxl(tmp_path), read_sdxl(file, SPATIAL)):
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_a_frame_vae_is_known_by_its_statistics(tmp_path):
    model = frame_vae()
    model.autoencoder.save_pretrained(tmp_path)
    statistics = {"mean": [0.1, 0.2, 0.3, 0.4], "std": [1.0, 2.0, 3.0, 4.0]}
    (tmp_path / "latent_statistics.json").write_text(json.dumps(statistics))
    video = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(load_vae(tmp_path).eval().encode(video), model.encode(video))
