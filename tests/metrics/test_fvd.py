"""The Fréchet distance has its closed form, says when it is biased, and runs no file's code before it is verified."""

import math
import statistics
import warnings
from pathlib import Path

import pytest
import torch
from public_files import row, sha256
from torch import Tensor, nn

from cola_world.metrics.frechet import frechet_distance, moments
from cola_world.metrics.fvd import grouped, pooled
from cola_world.metrics.public_networks import open_metric
from cola_world.metrics.video import measure_videos
from cola_world.weights.public import WeightsError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean: Tensor, root: Tensor, clips: int = 300, seed: int = 0) -> Tensor:
    """Samples whose mean is exactly `mean`, and whose covariance is exactly root @ root.T."""
    x = normal(clips, len(mean), seed=seed)
    x = x - x.mean(0)
    return mean + x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T @ root.T


def test_commuting_gaussians_have_their_closed_form():
    a, b = torch.tensor([4.0, 1.0, 0.25, 9.0]).double(), torch.tensor([1.0, 1.0, 4.0, 0.01]).double()
    turn = torch.linalg.qr(normal(4, 4))[0]
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0]).double()
    expected = shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    sets = gaussian(torch.zeros(4).double(), turn * a.sqrt(), seed=1), gaussian(shift, turn * b.sqrt(), seed=2)
    assert frechet_distance(*map(moments, sets)) == pytest.approx(expected.item(), abs=1e-6)


def test_any_gaussians_in_the_plane_have_their_closed_form():
    roots = [normal(2, 2, seed=seed) for seed in (3, 4)]
    a, b = (root @ root.T for root in roots)
    # The eigenvalues of ab add up to its trace and multiply to its determinant.
    cross = math.sqrt((a @ b).trace() + 2 * math.sqrt(torch.linalg.det(a @ b)))
    sets = [gaussian(torch.ones(2).double() * i, root, seed=i) for i, root in enumerate(roots)]
    expected = 2 + a.trace().item() + b.trace().item() - 2 * cross
    assert frechet_distance(*map(moments, sets)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("clips", [200, 10], ids=["full rank", "rank-deficient"])
def test_equal_sets_are_at_no_distance_in_any_order(clips):
    x = 30 * normal(clips, 50)
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(moments(x), moments(x[order])) == pytest.approx(0, abs=1e-6)


def test_a_covariance_of_too_few_clips_is_told_once_for_all_groups():
    a, b = normal(20, 8), normal(20, 8, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = pooled("FVD", a, b)
        with pytest.raises(UserWarning, match=r"^FVD of 5 clips: a covariance of 8 features has rank 4; .* biased upwards.*groups of 5\)$"):
            grouped("FVD", a, b, 5)
    with pytest.warns(UserWarning, match="rank 4") as caught:
        groups = grouped("FVD", a, b, 5)
    assert len(caught) == 1 and groups.value > whole.value
    assert groups.how == "mean of 4 groups of 5 clips in their order, covariance 1/(N-1) of rank 4 in 8"
    with pytest.warns(UserWarning):
        expected = [pooled("FVD", a[i : i + 5], b[i : i + 5]).value for i in (0, 5, 10, 15)]
    assert groups.value == pytest.approx(statistics.fmean(expected))


def test_an_incomplete_group_is_left_out_and_a_small_set_is_one_group():
    a, b = normal(25, 3), normal(25, 3, seed=1)
    assert grouped("FVD", a, b, 10).value == grouped("FVD", a[:20], b[:20], 10).value
    assert grouped("FVD", a, b, 240).value == pooled("FVD", a, b).value


@pytest.mark.parametrize("features, message", [
    (torch.zeros(1, 4), "1 clips were given; a covariance needs at least two"),
    (torch.full((4, 4), math.nan), "some features are infinite or no numbers"),
])  # fmt: skip
def test_what_has_no_distance_is_refused(features, message):
    with pytest.raises(ValueError, match=message):
        moments(features)


class LikeI3D(nn.Module):
    """Takes what the public file takes, and gives a few features of it."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        assert x.shape[1] == 3 and x.amin() >= -1 and x.amin() < 0
        assert resize and return_features and not rescale
        return torch.cat((x.mean((3, 4)).flatten(1), x.std((3, 4)).flatten(1)), 1)[:, :4]


@pytest.fixture
def script(tmp_path) -> Path:
    torch.jit.script(LikeI3D()).save(tmp_path / "i3d.pt")
    return tmp_path / "i3d.pt"


def test_i3d_sees_channels_before_frames_and_is_named_with_its_hash(script):
    file = row(path=str(script), format="torchscript", sha256=sha256(script))
    real = torch.rand(12, 10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    metric = open_metric("i3d", file, script.parent)
    assert torch.allclose(metric.describe(real), LikeI3D()(2 * real.transpose(1, 2) - 1, False, True, True))
    result = measure_videos(real.flip(0) ** 2, real, 1, [metric])["video/fvd"]
    assert result.value > 0 and str(result.protocol).endswith(f"i3d {sha256(script)[:12]}")
    with pytest.raises(ValueError, match="^FVD: i3d would see 9 frames of each clip; it needs at least 10$"):
        measure_videos(real[:, :9], real[:, :9], 1, [metric])
    with pytest.raises(ValueError, match="i3d would see 9 frames"):
        measure_videos(real, real, 1, [metric], whole=False)


def test_torchscript_is_not_opened_before_its_checksum_is_right(script, monkeypatch):
    def opened(*arguments, **options):
        raise AssertionError("the file was opened")

    monkeypatch.setattr(torch.jit, "load", opened)
    for digest, message in (("0" * 64, "expected sha256 0000"), (None, "expected a known sha256")):
        with pytest.raises(WeightsError, match=message):
            open_metric("i3d", row(path=str(script), format="torchscript", sha256=digest), script.parent)
