"""A corpus as the dials name it: one that is rendered here, or a data set that somebody brought."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cola_world.data.lerobot import open_dataset
from cola_world.models.config import Config
from cola_world.running.files import renamed

RENDERED = ("data", "raw")  # the folder that the simulators write


class CorpusConfig(Config):
    """The simulator or data set of a corpus. `group` is its role in the paper's mixture; `general` is for
    pre-training only.
    """

    group: Literal["general", "oxe", "agibot", "human", "out_of_distribution"]
    environment: str | None = Field(None, description="the simulator that renders it")
    path: str | None = Field(None, description="the LeRobot data set that it is, read where it lies; relative to the repository's root")
    stride: int = Field(1, ge=1, description="saved frames between two frames of a clip")
    hide_actions: bool = False
    evaluation_only: bool = Field(False, description="probed and evaluated, and no model is ever trained on it, the VAE included")

    @model_validator(mode="after")
    def out_of_distribution_is_not_trained_on(self) -> "CorpusConfig":
        if self.group == "out_of_distribution" and not self.evaluation_only:
            raise ValueError("evaluation_only: false does not go with the group 'out_of_distribution'; the right one is true")
        return self

    @model_validator(mode="after")
    def comes_from_one_place(self) -> "CorpusConfig":
        if (self.environment is None) == (self.path is None):
            raise ValueError("environment: name the simulator that renders it, or with path the data set that it is; one of the two")
        if self.path and Path(self.path).parts[:2] == RENDERED:
            raise ValueError(f"path: {self.path!r} is where simulated data is replaced; keep your own elsewhere, as data/own/<name>")
        return self


def bring(path: str, out: Path) -> None:
    """Note in `out` what the data set at `path` holds, without copying it. Raises ValueError if there is none."""
    dataset = open_dataset(path)
    about = {"path": path, "episodes": len(dataset.episodes), "frames": sum(ref.frames for ref in dataset.episodes)}
    with renamed(out / "brought.json") as partial:
        partial.write_text(json.dumps(about, indent=1) + "\n")
