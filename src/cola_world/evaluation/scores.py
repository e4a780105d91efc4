"""What predicted videos are worth: a value for each metric, with its bootstrap interval over clips."""

from typing import NamedTuple

from torch import Tensor

from cola_world.evaluation.intervals import RESAMPLES, of_mean


class Score(NamedTuple):
    """A metric's value on a set of clips, and the ends of its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float
    protocol: str

    def values(self) -> dict[str, float]:
        """Metric as in results.csv -> value."""
        return {self.metric: self.value, f"{self.metric}_low": self.low, f"{self.metric}_high": self.high}


def measure(generated_NTCYX: Tensor, real_NTCYX: Tensor, given: int) -> list[Score]:
    """Scores of the frames after the `given` ones; RGB in [0, 1]."""
    mse_NT = (generated_NTCYX - real_NTCYX)[:, given:].square().mean((2, 3, 4), dtype=float)
    values_N = (-10 * mse_NT.log10()).mean(1)
    low, high = of_mean(values_N)
    return [Score("video/psnr", values_N.mean().item(), low, high, f"{len(values_N)} clips, {RESAMPLES} resamples of clips")]
