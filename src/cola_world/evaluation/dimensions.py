"""Which dimension of a corpus' actions is what: the camera's, a gripper's, or the arm's.

not in paper: because its data sets are filmed by cameras at rest or by a head, it does not set them apart; here a
camera moves the whole picture and an arm a small part of it, so that one mean over both tells of neither.
"""

from typing import Literal, NamedTuple

CAMERA = ("pan", "tilt")  # what the simulators call the turns of a camera


class Dimension(NamedTuple):
    """The name of a dimension, and what it moves."""

    name: str
    group: Literal["camera", "gripper", "arm"]


def dimensions(names: tuple[str, ...], count: int) -> tuple[Dimension, ...]:
    """Tell the `count` dimensions of a corpus apart by their names. Without names that differ, all are the arm's."""
    if len(set(names)) != count:
        names = tuple(f"action{number}" for number in range(count))
    return tuple(Dimension(name, group_of(name)) for name in names)


def group_of(name: str) -> Literal["camera", "gripper", "arm"]:
    name = name.lower()
    if "gripper" in name:
        return "gripper"
    return "camera" if name in CAMERA or "camera" in name else "arm"
