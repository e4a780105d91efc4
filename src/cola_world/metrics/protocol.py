"""Numbers that carry their protocol. No video metric is comparable without it."""

from typing import NamedTuple

from cola_world.models.config import Config


class Network(Config):
    """The network whose features a metric compares: a short name, and the sha256 of its weight file."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.sha256[:12]}"


class Protocol(Config):
    """What a value was measured on and how. `str` gives it in one short line, with the start of the checksum."""

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
    """`by_frame` is the mean over clips for each measured frame, if the metric compares frames."""

    value: float
    protocol: Protocol
    by_frame: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.protocol})"
