"""The command `cola`, through main: what it writes, and that a user's error is one line and exit code 2."""

import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from PIL import Image
from tiny import CONFIG, awake

from cola_world.cli import main
from cola_world.data.video import VideoWriter, decode
from cola_world.inference import export
from cola_world.inference.actions import picture, read_frames
from cola_world.models.autoencoder import VAEConfig, build_autoencoder
from cola_world.models.pixels import to_video
from cola_world.models.system import System, count_parts
from cola_world.weights.hub import ActionWorldModel, Frames, LatentActionModel, ModelConfig
from cola_world.workspace.faults import parse
from cola_world.workspace.profile import Profile

MODEL = ModelConfig(system=CONFIG, frames=Frames(num_frames=3, size=18, crop=16))
FRAMES = 10


def write_video(path, frames: int = FRAMES):
    pixels = np.random.default_rng(0).integers(0, 256, (frames, 24, 32, 3), dtype=np.uint8)
    writer = VideoWriter(path, fps=5, width=32, height=24)
    writer.add(pixels)
    writer.close()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A LAM, a world model, a VAE that fits them, a video and a picture."""
    out = tmp_path_factory.mktemp("models")
    system, lam, model = awake(), LatentActionModel(MODEL), ActionWorldModel(MODEL)
    lam.idm.load_state_dict(system.lam.idm.state_dict())
    with torch.no_grad():  # codes are what the IDM gives for other clips, so that more than one is used
        clips = torch.rand(8, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        lam.quantizer.codebook.copy_(lam.idm(clips).flatten(0, 2))
    model.load_state_dict(system.world_model.state_dict())
    lam.save_pretrained(out / "lam")
    model.save_pretrained(out / "world_model")
    torch.manual_seed(0)
    build_autoencoder(VAEConfig(channels=[8, 8, 8], groups=4)).save_pretrained(out / "vae")
    (out / "vae" / "latent_statistics.json").write_text(json.dumps({"mean": [0.0] * 4, "std": [1.0] * 4}))
    write_video(out / "video.mp4")
    grey = np.linspace(0, 255, 40 * 20).astype(np.uint8).reshape(40, 20)
    Image.fromarray(grey).save(out / "frame.png")
    return out


def encode(folder, out, *options: str) -> int:
    return main(["encode-actions", str(folder / "video.mp4"), "--lam", str(folder / "lam"), "--out", str(out), *options])


def expected_actions(folder, stride: int) -> tuple[list, list]:
    """One window after the other, without batches and without streaming."""
    lam = LatentActionModel.from_pretrained(folder / "lam")
    video = [picture(frame, MODEL.frames, 16) for frame in decode(folder / "video.mp4")][::stride]
    indices, vectors = [], []
    for start in range(0, len(video) - 1, 2):
        clip = to_video(np.stack(video[start : start + 3])[None])
        with torch.no_grad():
            out = lam.latent_actions(clip)
        indices += out.indices_BAM[0].tolist()
        vectors += out.z_BAMZ[0].flatten(1).tolist()
    return indices, vectors


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("batch", ["1", "3"])
def test_every_frame_pair_gets_its_action_once(folder, tmp_path, stride, batch):
    assert encode(folder, tmp_path / "a.parquet", "--stride", str(stride), "--batch", batch) == 0
    table = pq.read_table(tmp_path / "a.parquet").to_pydict()
    indices, vectors = expected_actions(folder, stride)
    assert table["frame"] == list(range(0, FRAMES, stride))[:-1]
    assert table["seconds"] == pytest.approx([frame / 5 for frame in table["frame"]])
    assert table["indices"] == indices and len({tuple(row) for row in indices}) > 1
    assert np.allclose(table["vector"], vectors, atol=1e-6) and np.shape(vectors) == (len(indices), 64)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def dream(folder, actions, out, *options: str) -> int:
    words = ["imagine", str(folder / "frame.png"), "--actions", str(actions), "--world-model", str(folder / "world_model")]
    return main([*words, "--out", str(out), *options])


def test_an_imagined_video_has_a_frame_an_action_and_starts_from_the_picture(folder, tmp_path, capsys):
    encode(folder, tmp_path / "a.parquet", "--stride", "2")
    assert dream(folder, tmp_path / "a.parquet", tmp_path / "a.mp4") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'a.mp4'}: 5 frames"
    frames = [frame.picture for frame in read_frames(tmp_path / "a.mp4", stride=1)]
    assert len(frames) == 5 and frames[0].shape == (16, 16, 3)
    first = picture(np.array(Image.open(folder / "frame.png").convert("RGB")), MODEL.frames, 16)
    assert np.abs(frames[0].astype(int) - first).mean() < 4 < np.abs(frames[0].astype(int) - frames[1]).mean()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 2.5  # 5 a second at stride 2


def test_imagination_is_decided_by_seed_and_actions(folder, tmp_path):
    encode(folder, tmp_path / "a.parquet")
    for name, options in {"a": [], "b": [], "c": ["--seed", "1"], "d": ["--vae", str(folder / "vae")]}.items():
        assert dream(folder, tmp_path / "a.parquet", tmp_path / f"{name}.mp4", *options) == 0
    a, b, c, d = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abcd")
    assert a == b == d and a != c


def test_a_rollout_goes_on_from_the_last_frame_of_each_window():
    model, generator = awake().world_model, torch.Generator().manual_seed(0)
    context, actions = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 5, 64)
    parts = list(model.rollout(context, actions, generator, window=3))
    assert [part.shape[1] for part in parts] == [2, 2, 1]
    again = torch.Generator().manual_seed(0)
    first = model.sample(context, actions[:, :2], again)
    second = model.sample(first[:, -1:], actions[:, 2:4], again)
    assert torch.equal(parts[0], first[:, 1:]) and torch.equal(parts[1], second[:, 1:])


def test_params_prints_the_papers_sizes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["params", "--scale", "paper", "--root", str(ROOT)]) == 0
    out = capsys.readouterr().out
    for part, count in {"stdit3": "904,066,628", "action_adaln": "74,479,680", "world model": "978,546,308"}.items():
        assert any(part in line and count in line for line in out.splitlines())


def test_counted_parts_are_those_of_a_real_system():
    profile = parse(Profile, ROOT / "stages" / "profiles" / "smoke.yaml")
    real = {name: sum(p.numel() for p in part.parameters()) for name, part in System(profile.system, 0).parts().items()}
    assert count_parts(profile.system) == real


def test_export_names_what_it_made(monkeypatch, capsys, tmp_path):
    asked = []
    monkeypatch.setattr(export, "export", lambda *arguments: asked.append(arguments) or [tmp_path / "lam"])
    assert main(["export", "e2e", "--seed", "1", "--to", str(tmp_path), "--root", str(tmp_path)]) == 0
    assert asked == [("e2e", 1, tmp_path, tmp_path, None)] and capsys.readouterr().out == f"{tmp_path / 'lam'}\n"


WRONG = {
    "no video": (["encode-actions", "{tmp}/none.mp4", "--lam", "{lam}", "--out", "{tmp}/o.parquet"], "none.mp4: no such file"),
    "broken video": (["encode-actions", "{tmp}/broken.mp4", "--lam", "{lam}", "--out", "{tmp}/o.parquet"], "cannot be opened as video"),
    "short video": (["encode-actions", "{tmp}/one.mp4", "--lam", "{lam}", "--out", "{tmp}/o.parquet"], "fewer than two frames"),
    "no lam": (["encode-actions", "{video}", "--lam", "{tmp}/none", "--out", "{tmp}/o.parquet"], "none: expected a folder, found none"),
    "other model": (["encode-actions", "{video}", "--lam", "{wm}", "--out", "{tmp}/o.parquet"], "the weights of LatentActionModel"),
    "no device": (["encode-actions", "{video}", "--lam", "{lam}", "--out", "{tmp}/o.parquet", "--device", "abacus"], "--device abacus"),
    "no option": (["encode-actions", "{video}"], "the following arguments are required: --lam, --out"),
    "stride": (["encode-actions", "{video}", "--lam", "{lam}", "--out", "{tmp}/o.parquet", "--stride", "0"], "'0' is no whole number"),
    "no actions": (["imagine", "{png}", "--actions", "{video}", "--world-model", "{wm}", "--out", "{tmp}/o.mp4"], "no table of actions"),
    "no picture": (["imagine", "{video}", "--actions", "{tmp}/a.parquet", "--world-model", "{wm}", "--out", "{tmp}/o.mp4"], "identify"),
    "no vae": (
        ["imagine", "{png}", "--actions", "{tmp}/a.parquet", "--world-model", "{wm}", "--vae", "{tmp}", "--out", "{tmp}/o.mp4"],
        "latent_statistics.json: no such file",
    ),
    "other actions": (
        ["imagine", "{png}", "--actions", "{tmp}/b.parquet", "--world-model", "{wm}", "--out", "{tmp}/o.mp4"],
        "expected vectors of 64 values, found 3",
    ),
    "no scale": (["params", "--scale", "papre", "--root", "{root}"], "nearest is 'paper'"),
    "no workspace": (["params", "--root", "{tmp}"], "no profiles here"),
    "no run": (["export", "e2e", "--seed", "1", "--to", "{tmp}/out", "--root", "{tmp}"], "e2e: no finished run of this name"),
    "no command": (["dream"], "invalid choice: 'dream'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_of_the_user_is_one_line_and_exit_code_two(folder, tmp_path, capsys, case):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    write_video(tmp_path / "one.mp4", frames=1)
    encode(folder, tmp_path / "a.parquet")
    other = pq.read_table(tmp_path / "a.parquet").to_pandas()
    other["vector"] = other["vector"].map(lambda vector: vector[:3])
    other.to_parquet(tmp_path / "b.parquet")
    before = {file.name for file in tmp_path.iterdir()}
    words, message = WRONG[case]
    files = {"lam": "lam", "wm": "world_model", "video": "video.mp4", "png": "frame.png"}
    names = {"root": ROOT, "tmp": tmp_path} | {key: folder / name for key, name in files.items()}
    capsys.readouterr()
    try:
        code = main([word.format(**names) for word in words])
    except SystemExit as error:  # argparse's own
        code = error.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and message in lines[-1] and lines[-1].startswith("cola") and len(lines) == 1, lines
    assert {file.name for file in tmp_path.iterdir()} == before
