"""The plans of the stages simulate, manifest and clips. Frozen, and no unknown field is let through."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Plan = TypeVar("Plan", bound="_Frozen")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulateConfig(_Frozen):
    """One simulated corpus: `episodes` × `frames` pictures of size × size pixels, `fps` a second."""

    corpus: Name
    group: Name
    environment: Name
    episodes: int = Field(ge=1)
    frames: int = Field(ge=2)
    size: int = Field(64, ge=16, multiple_of=2)  # even, because the h264 file is yuv420p
    fps: int = Field(10, ge=1)
    # not in paper: because its data cannot be had at small scales, how much colours, light and camera of the stand-ins
    # differ from episode to episode is a parameter, and whether the camera looks about as one on a head does
    # (`camera_reach` and `camera_speed` in widths of the picture); the general corpus always varies and moves in full.
    variety: float = Field(1.0, ge=0, le=1)
    camera_reach: float = Field(0.0, ge=0, le=1)
    camera_speed: float = Field(0.13, gt=0, le=1)
    seed: int = Field(0, ge=0)
    workers: int = Field(2, ge=1)  # does not change the result
    stride: int = Field(1, ge=1)
    hide_actions: bool = False  # the file then has no action column at all, as human video has none


class CorpusConfig(_Frozen):
    """Where a corpus lies and what it counts as. `path` defaults to data/raw/<corpus>; relative to the repository's root."""

    group: Name
    environment: str = "files"  # what made it: a simulator, or files that somebody brought
    path: str | None = None
    stride: int = Field(1, ge=1)
    hide_actions: bool = False
    evaluation_only: bool = False  # no model is ever trained on it, the VAE included


class ManifestConfig(_Frozen):
    """All corpora that are indexed, and the share of the episodes of each that is held out."""

    corpora: dict[Name, CorpusConfig] = Field(min_length=1)
    # not in paper: because no held-out share is stated, a tenth of the episodes is.
    val_fraction: float = Field(0.1, gt=0, lt=1)


class ClipsConfig(_Frozen):
    """The decoded cache: side of its frames in pixels, and the length of a clip, below which an episode is of no use.

    `mixture` (group -> weight) is optional: with it the card records every corpus's share and the groups without one.
    """

    size: int = Field(ge=8)
    num_frames: int = Field(2, ge=2)
    mixture: dict[Name, Annotated[float, Field(ge=0)]] = {}


def read_plan(kind: type[Plan], path: str | Path) -> Plan:
    """Reads one plan file. ValueError names the file, the field and the value that is wrong."""
    try:
        return kind.model_validate_json(Path(path).read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such plan; run `dvc repro plan` first") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{path}: {where}: {first['msg']} (got {first['input']!r})") from None
