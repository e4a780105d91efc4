"""The metrics that the paper's tables print, and the rows of ours that hold them."""

from typing import NamedTuple

import pandas as pd


class Metric(NamedTuple):
    """`ours`: names of our rows, in order of preference. `scale`: factor from ours to what the paper prints."""

    label: str
    ours: tuple[str, ...]
    higher_is_better: bool
    scale: float = 1.0
    decimals: int = 2

    @property
    def sign(self) -> int:
        """1 if more is better, -1 if less is."""
        return 1 if self.higher_is_better else -1

    def found(self, rows: pd.DataFrame) -> str | None:
        """Return the first of our names that the rows have."""
        present = set(rows["metric"])
        return next((name for name in self.ours if name in present), None)


METRICS = {
    "probe/l1": Metric("probing loss", ("probe/l1",), False, decimals=4),
    "video/psnr": Metric("PSNR, dB", ("video/psnr",), True),
    "video/ssim": Metric("SSIM x 100", ("video/ssim",), True, 100),
    # A stand-in keeps its own name, so that its numbers are never read as the public metric's.
    "video/lpips": Metric("LPIPS x 100", ("video/lpips_alex", "video/lpips_sim"), False, 100),
    "video/fvd": Metric("FVD", ("video/fvd", "video/fvd_sim"), False),
}
