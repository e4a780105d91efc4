"""Where a workspace keeps what its stages make."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """The folders of the workspace `root`. Each property is one that a stage writes and later ones read."""

    root: Path = Path(".")

    @property
    def clips(self) -> Path:
        """Cache of decoded clips."""
        return self.root / "data" / "clips"

    @property
    def latents(self) -> Path:
        """Cache of their latents."""
        return self.root / "data" / "latents"

    @property
    def weights(self) -> Path:
        """Converted public weights."""
        return self.root / "data" / "weights"

    @property
    def runs(self) -> Path:
        """One folder per run, with its snapshots, metrics and cost."""
        return self.root / "runs"

    @property
    def plans(self) -> Path:
        """What the dials resolve to, one file per stage."""
        return self.runs / "plan"

    @property
    def vae(self) -> Path:
        return self.runs / "vae"

    @property
    def encoder(self) -> Path:
        """File of the encoder that stands in for the public networks of video metrics."""
        return self.runs / "encoder" / "encoder.safetensors"
