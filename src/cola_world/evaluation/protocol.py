"""Numbers that say how they were measured: none of the video metrics is comparable without its protocol."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class Network(BaseModel):
    """Whose features a metric compares: a short name, and the sha256 of its weight file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.sha256[:12]}"


class Protocol(BaseModel):
    """What a value was measured on and how; `str` gives all of it but the whole checksum, in one short line."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    metric: str
    clips: int
    first: int  # frames `first` to `last` of each clip are measured, counted from 1, of which the first `given` were conditions
    last: int
    given: int
    height: int
    width: int
    how: str  # settings, and how frames and clips are put together
    network: Network | None = None
    pixels: str = "RGB in [0, 1]"

    def __str__(self) -> str:
        frames = f"frames {self.first}-{self.last} ({self.given} given)"
        parts = [f"{self.clips} clips", frames, f"{self.height}x{self.width} {self.pixels}", self.how, self.network]
        return f"{self.metric}: " + ", ".join(str(part) for part in parts if part is not None)


class Measured(NamedTuple):
    """`by_frame`: the mean over clips for each measured frame, where the metric looks at frames one by one."""

    value: float
    protocol: Protocol
    by_frame: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.protocol})"
