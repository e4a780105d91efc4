"""Public weight files: a table of what is known of them, their download, and their verification before any use.

A file comes from the hub or from a path. It is used only if size, sha256 (where known) and format are right.
Otherwise a WeightsError says in one line what it is, what was expected, what was found, and what to do.
"""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field, ValidationError

from cola_world.models.config import Config
from cola_world.running.files import file_hash, renamed

if TYPE_CHECKING:
    from torch import Tensor

SHA256 = r"^[0-9a-f]{64}$"
TORCH_SUFFIXES = (".pt", ".pth")
INDEX_SUFFIX = ".safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pickle")


class WeightsError(ValueError):
    """A weight file that cannot be had or must not be used, in one line."""


class Brought(Config):
    """How a profile names a file: from the hub, or from `path`. With its own `sha256` it may be another file."""

    path: str | None = None
    sha256: str | None = Field(None, pattern=SHA256)


class PublicFile(Config):
    """A row of the table; `size` is in bytes and None is unknown. A file without `revision` is on no hub and has to
    be brought.

    A `state_dict` is a file that torch saved, read as it is, tensors only.
    """

    repository: str | None
    file: str
    revision: str | None
    size: int | None
    sha256: str | None = Field(pattern=SHA256)
    licence: str | None
    format: Literal["safetensors", "torchscript", "state_dict"]
    replaces: Literal["pretrain", "vae"] | None
    purpose: str
    path: str | None = None

    def brought(self, own: Brought) -> PublicFile:
        """Return this row with the path and checksum of a profile. With its own checksum the size may differ too."""
        changes: dict[str, Any] = {"path": own.path}
        if own.sha256:
            changes |= {"sha256": own.sha256, "size": None}
        return self.model_copy(update=changes)


def read_table(path: Path) -> dict[str, PublicFile]:
    """Read `data/weights.yaml`. Raises ValueError that names the wrong row and field."""
    try:
        return {name: PublicFile.model_validate(row) for name, row in yaml.safe_load(path.read_text()).items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{path.name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}; found {fault['input']!r}") from None


def obtain(name: str, file: PublicFile, folder: Path) -> Path:
    """Return the verified file, from `file.path` or the hub. What torch saved is converted to safetensors in
    `folder`.
    """
    source = Path(file.path) if file.path else download(name, file)
    verify(name, file, source)
    return convert(name, source, folder) if source.suffix in TORCH_SUFFIXES and file.format == "safetensors" else source


def obtain_row(rows: dict[str, PublicFile], folder: Path) -> tuple[PublicFile, Path]:
    """`obtain` for the single row of a plan -> the row and its verified file."""
    [(name, file)] = rows.items()
    return file, obtain(name, file, folder)


def weights_error(name: str, source: object, expected: str, found: str, todo: str) -> WeightsError:
    """Say in one line what it is, what was expected, what was found, and what to do."""
    return WeightsError(f"weights.{name}: {source}: expected {expected}, found {found}; {todo}")


def download(name: str, file: PublicFile) -> Path:
    """Return the file in the hub's own cache, where an incomplete download has another name."""
    # Imported here because every stage reads a plan and few download.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    instead = f"or bring it: weights: {{{name}: {{path: ...}}}}"
    if file.revision is None:
        raise weights_error(name, file.file, "a path, for no hub has it", "none", instead.removeprefix("or "))
    where = f"{file.repository}/{file.file} at {file.revision[:10]}"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings of every retry would hide the one line
    try:
        return Path(hf_hub_download(file.repository, file.file, revision=file.revision))
    except GatedRepoError:
        raise weights_error(name, where, "an open file", "one behind a licence", f"accept it on the hub and log in, {instead}") from None
    except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        raise weights_error(name, where, "a file on the hub", type(error).__name__, f"correct the table, {instead}") from None
    except OSError as error:  # what the hub raises without a connection is one too
        reason = f"an error ({str(error).partition(chr(10))[0]})"
        raise weights_error(name, where, "a download", reason, f"check network and disk, {instead}") from None


def verify(name: str, file: PublicFile, source: Path) -> None:
    """Check existence, format by name, size, format by content, and sha256, the cheapest first."""
    again = "bring the right file, or give its own sha256 beside its path" if file.path else "remove it and run again"
    if not source.is_file():
        raise weights_error(name, source, "a file", "none", "correct the path")
    if source.suffix in PICKLE_SUFFIXES:
        raise weights_error(name, source, "safetensors", f"a pickle ({source.suffix}), which could run any code", "bring the safetensors")
    size = source.stat().st_size
    if file.size is not None and size != file.size:
        raise weights_error(name, source, f"{file.size} bytes", str(size), again)
    if source.suffix not in TORCH_SUFFIXES:
        for shard in shards_of(name, source):
            check_safetensors(name, shard, again)
    elif file.format == "torchscript" and file.sha256 is None:
        raise weights_error(name, source, "a known sha256", "none for a file that holds code", "give the sha256 of one that you trust")
    if file.sha256 is not None and (found := file_hash(source)) != file.sha256:
        raise weights_error(name, source, f"sha256 {file.sha256}", found, again)


def shards_of(name: str, source: Path) -> list[Path]:
    """Return the safetensors file itself, or the files named by the weight map of a `*.safetensors.index.json`."""
    if not source.name.endswith(INDEX_SUFFIX):
        return [source]
    try:
        shards = {str(shard) for shard in json.loads(source.read_text())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise weights_error(name, source, "a JSON index with a weight_map", "something else", "bring the index of the shards") from None
    paths = [source.with_name(shard) for shard in sorted(shards)]
    for path in paths:
        if not path.is_file():
            raise weights_error(name, path, f"a shard that {source.name} names", "none", "bring all shards")
    return paths


def check_safetensors(name: str, source: Path, again: str) -> None:
    """Check that header and length agree; a truncated file ends before its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="pt") as file:
            file.keys()
    except SafetensorError as error:
        raise weights_error(name, source, "safetensors", f"a damaged or other file ({error})", again) from None


def convert(name: str, source: Path, folder: Path) -> Path:
    """Write what torch saved to `folder` as safetensors."""
    from safetensors.torch import save_file

    tensors = read_tensors(name, source)
    target = folder / f"{name}.safetensors"
    with renamed(target) as partial:
        save_file(tensors, partial)
    return target


def read_tensors(name: str, source: Path) -> dict[str, Tensor]:
    """Read a state dict, or the `state_dict` in a checkpoint, without running code."""
    import torch

    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise weights_error(name, source, "tensors only", "a damaged file or one that runs code", "bring the safetensors") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise weights_error(name, source, "a dict of tensors", "other things as well", "bring the state dict alone")
    return {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in content.items()}


def verified(file: PublicFile, path: Path) -> dict[str, Any]:
    """Return what a later reader needs to know of an obtained file: its path and which bytes it has."""
    facts = {"path": str(path.absolute()), "size": path.stat().st_size, "sha256": file_hash(path)}
    return facts | file.model_dump(include={"repository", "file", "revision", "licence"})
