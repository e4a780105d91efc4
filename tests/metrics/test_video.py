"""Video metrics of sets: what is equal, what must not matter, what each value says of itself, and what is refused."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cola_world.metrics.encoder import EncoderConfig, SimEncoder, VideoEncoder
from cola_world.metrics.metric_types import ClipFeatures, FrameMetric
from cola_world.metrics.protocol import Network
from cola_world.metrics.psnr_ssim import PIXELS, psnr, ssim
from cola_world.metrics.video import VideoMetrics, measure_videos


@pytest.fixture(scope="module")
def sim() -> list[FrameMetric | ClipFeatures]:
    torch.manual_seed(0)
    encoder = SimEncoder(VideoEncoder(EncoderConfig(channels=(8, 16), features=5)), "ab" * 32)
    return [*PIXELS, encoder.fvd(), encoder.lpips()]


def videos(clips: int = 24, frames: int = 4, side: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(clips, frames, 3, side, side, generator=generator)
    return (real + 0.2 * torch.rand(real.shape, generator=generator)).clamp(0, 1), real


def values(results) -> dict[str, float]:
    return {name: measured.value for name, measured in results.items()}


def test_equal_sets(sim):
    _, real = videos()
    found = values(measure_videos(real, real, 1, sim))
    expected = {"psnr": math.inf, "ssim": 1, "lpips_sim": 0, "fvd_sim": 0, "fvd_sim_grouped": 0}
    assert found == pytest.approx({f"video/{name}": value for name, value in expected.items()}, abs=1e-6)


def test_neither_order_nor_batches_matter(sim):
    generated, real = videos()
    whole = values(measure_videos(generated, real, 1, sim))
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(1))
    by_clip = VideoMetrics(1, sim, pixels_at_a_time=1)
    for part in order.split(5):
        by_clip.update(generated[part], real[part])
    assert values(by_clip.results()) == pytest.approx(whole, rel=1e-5, abs=1e-6)


def test_frames_by_their_mean_and_only_those_that_were_predicted():
    generated, real = videos()
    generated[:, :2] = real[:, :2]
    results = measure_videos(generated, real, 2)
    for name, metric in (("video/psnr", psnr), ("video/ssim", ssim)):
        by_frame = [metric(generated[:, t], real[:, t]).mean().item() for t in (2, 3)]
        assert results[name].by_frame == pytest.approx(by_frame) and results[name].value == pytest.approx(sum(by_frame) / 2)
    assert measure_videos(generated, real, 1)["video/psnr"].value == math.inf


def test_features_see_whole_clips_or_only_what_was_predicted(sim):
    generated, real = videos()
    for whole, start in ((True, 0), (False, 2)):
        seen = [video[:, start:] for video in (generated, real)]
        found, expected = measure_videos(generated, real, 2, sim, whole=whole), measure_videos(*seen, 0, sim)
        assert found["video/fvd_sim"].value == pytest.approx(expected["video/fvd_sim"].value)
        assert found["video/fvd_sim"].protocol.first == start + 1 and found["video/psnr"].protocol.first == 3


def test_every_value_says_how_it_was_measured_in_one_short_line(sim):
    generated, real = videos()
    results = measure_videos(generated, real, 1, sim, group=10)
    lines = {name: str(measured.protocol) for name, measured in results.items()}
    size = "24 clips, frames 2-4 (1 given), 16x16 RGB in [0, 1]"
    assert lines["video/psnr"] == f"PSNR: {size}, mean of frames and clips, dB of each frame"
    assert lines["video/lpips_sim"].startswith(f"LPIPS-sim: {size}, ") and lines["video/lpips_sim"].endswith("encoder-sim abababababab")
    assert lines["video/fvd_sim_grouped"] == (
        "FVD-sim: 24 clips, frames 1-4 (1 given), 16x16 RGB in [0, 1], "
        "mean of 2 groups of 10 clips in their order, covariance 1/(N-1), encoder-sim abababababab"
    )
    assert all("\n" not in line and len(line) < 200 for line in lines.values())
    assert results["video/fvd_sim"].protocol.network.sha256 == "ab" * 32


def test_nothing_of_the_stand_in_has_a_name_of_the_real_one(sim):
    generated, real = videos()
    results = measure_videos(generated, real, 1, sim)
    for name, measured in results.items():
        assert ("_sim" in name) == ("-sim" in measured.protocol.metric) == ("-sim" in str(measured.protocol.network)), name
    assert {name for name in results if "fvd" in name or "lpips" in name} == {
        "video/fvd_sim", "video/fvd_sim_grouped", "video/lpips_sim",
    }  # fmt: skip


def test_few_clips_for_many_features_are_warned_of(sim):
    generated, real = videos(clips=4)
    with pytest.warns(UserWarning, match="FVD-sim of 4 clips: a covariance of 5 features has rank 3") as caught:
        found = measure_videos(generated, real, 1, sim)
    assert len(caught) == 1 and "rank 3 in 5" in str(found["video/fvd_sim"].protocol)


def changed(change: Callable[[Tensor], Tensor]) -> Callable[[], tuple[Tensor, Tensor]]:
    def pair() -> tuple[Tensor, Tensor]:
        generated, real = videos(clips=2)
        return change(generated), real

    return pair


BAD = {
    "another length": (changed(lambda video: video[:, 1:]), "(2, 3, 3, 16, 16) and real (2, 4, 3, 16, 16); they must be of one shape"),
    "fewer clips": (changed(lambda video: video[:1]), "must be of one shape"),
    "no clips": (changed(lambda video: video[:0]), "generated has the shape (0, 4, 3, 16, 16)"),
    "channels last": (changed(lambda video: video.movedim(2, -1)), "generated has the shape (2, 4, 16, 16, 3); expected clips, frames, 3"),
    "one clip": (changed(lambda video: video[0]), "generated has the shape (4, 3, 16, 16)"),
    "bytes": (changed(lambda video: (255 * video).byte()), "generated holds torch.uint8; expected floats in [0, 1]: divide bytes by 255"),
    "[-1, 1]": (changed(lambda video: 2 * video - 1), "expected [0, 1]"),
    "[0, 255]": (changed(lambda video: 255 * video), "to 255; expected [0, 1]"),
    "no number": (changed(lambda video: video.where(video > 0.1, math.nan)), "from nan to nan; expected [0, 1]"),
    "infinite": (changed(lambda video: video.where(video > 0.1, -math.inf)), "from -inf to 1; expected [0, 1]"),
    "too small for SSIM": (lambda: videos(2, side=10), "SSIM: frames are 10x10; at least 11 pixels a side are needed"),
    "one frame": (lambda: videos(2, frames=1), "1 given frames leave none to measure in clips of 1"),
}


@pytest.mark.parametrize("pair, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_clear_line_and_counts_for_nothing(sim, pair, message):
    measuring = VideoMetrics(1, sim)
    measuring.update(*videos(8))
    before = values(measuring.results())
    for first in (True, False):
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            (VideoMetrics(1, sim) if first else measuring).update(*pair())
        assert "\n" not in str(error.value)
    assert values(measuring.results()) == before


def test_sets_of_two_shapes_and_empty_sets_are_refused():
    measuring = VideoMetrics(1)
    with pytest.raises(ValueError, match="no clips were given"):
        measuring.results()
    measuring.update(*videos(2))
    with pytest.raises(ValueError, match=re.escape("clips are (4, 3, 20, 20) and those before were (4, 3, 16, 16)")):
        measuring.update(*videos(2, side=20))


def test_a_metric_is_given_once(sim):
    with pytest.raises(ValueError, match="metrics are given twice: .*; each at most once"):
        VideoMetrics(1, [*sim, sim[-1]])


def test_one_clip_has_no_covariance(sim):
    with pytest.raises(ValueError, match="Fréchet distance: 1 clips were given; a covariance needs at least two"):
        measure_videos(*videos(1), 1, sim)


def test_a_network_that_gives_no_numbers_is_named():
    broken = FrameMetric("video/broken", "broken", lambda a, b: torch.full((len(a),), math.nan), network=Network(name="x", sha256="0"))
    with pytest.raises(ValueError, match="^video/broken: the network gives values that are no numbers"):
        measure_videos(*videos(2), 1, [broken])
