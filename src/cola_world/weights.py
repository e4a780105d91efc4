"""Public weight files: a table of what is known of them, their download, and their verification before any use.

A file comes from the hub or from a path. It is used when its size, its sha256 (each where known) and its format are right;
otherwise a WeightsError says in one line what it is, what was expected, what was found and what to do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from torch import Tensor

SHA256 = r"^[0-9a-f]{64}$"
TORCH_SUFFIXES = (".pt", ".pth")
INDEX_SUFFIX = ".safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pkl", ".pickle")


class WeightsError(ValueError):
    """A weight file that cannot be had or must not be used; one line."""


class Brought(BaseModel):
    """How a profile names a file: as it is on the hub, or from `path`; with its own `sha256` it may be another file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str | None = None
    sha256: str | None = Field(None, pattern=SHA256)


class PublicFile(BaseModel):
    """A row of the table; `size` in bytes. None is unknown; without `revision` the file is on no hub and has to be brought.

    `format`: a `state_dict` is what torch saved and is read as it is, tensors only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
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
        """This row with the path and checksum of a profile; a checksum of its own says that the size may differ too."""
        changes: dict[str, Any] = {"path": own.path}
        if own.sha256:
            changes |= {"sha256": own.sha256, "size": None}
        return self.model_copy(update=changes)


def read_table(path: Path) -> dict[str, PublicFile]:
    """`data/weights.yaml`; ValueError names the row and the field that is wrong."""
    try:
        return {name: PublicFile.model_validate(row) for name, row in yaml.safe_load(path.read_text()).items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{path.name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}; found {fault['input']!r}") from None


def obtain(name: str, file: PublicFile, folder: Path) -> Path:
    """The verified safetensors (or TorchScript) file, from `file.path` or the hub; what torch saved is converted into `folder`."""
    source = Path(file.path) if file.path else download(name, file)
    verify(name, file, source)
    return convert(name, source, folder) if source.suffix in TORCH_SUFFIXES and file.format == "safetensors" else source


def obtain_row(rows: dict[str, Any], folder: Path) -> tuple[PublicFile, Path]:
    """`obtain` for the one row that a plan has: the row and its verified file."""
    [(name, row)] = rows.items()
    file = PublicFile.model_validate(row)
    return file, obtain(name, file, folder)


def wrong(name: str, source: object, expected: str, found: str, todo: str) -> WeightsError:
    """What, expected, found, what to do: one line."""
    return WeightsError(f"weights.{name}: {source}: expected {expected}, found {found}; {todo}")


def download(name: str, file: PublicFile) -> Path:
    """The file in the hub's own cache, where a download is complete or has another name."""
    # Only here: every step reads a plan, and few download.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    instead = f"or bring it: weights: {{{name}: {{path: ...}}}}"
    if file.revision is None:
        raise wrong(name, file.file, "a path, for no hub has it", "none", instead.removeprefix("or "))
    where = f"{file.repository}/{file.file} at {file.revision[:10]}"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings of every retry would hide the one line
    try:
        return Path(hf_hub_download(file.repository, file.file, revision=file.revision))
    except GatedRepoError:
        raise wrong(name, where, "an open file", "one behind a licence", f"accept it on the hub and log in, {instead}") from None
    except (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        raise wrong(name, where, "a file on the hub", type(error).__name__, f"correct the table, {instead}") from None
    except OSError as error:  # what the hub raises without a connection is one too
        reason = f"an error ({str(error).partition(chr(10))[0]})"
        raise wrong(name, where, "a download", reason, f"check network and disk, {instead}") from None


def verify(name: str, file: PublicFile, source: Path) -> None:
    """Existence, format by name, size, format by content, sha256: cheapest first."""
    again = "bring the right file, or give its own sha256 beside its path" if file.path else "remove it and run again"
    if not source.is_file():
        raise wrong(name, source, "a file", "none", "correct the path")
    if source.suffix in PICKLE_SUFFIXES:
        raise wrong(name, source, "safetensors", f"a pickle ({source.suffix}), which could run any code", "bring the safetensors")
    size = source.stat().st_size
    if file.size is not None and size != file.size:
        raise wrong(name, source, f"{file.size} bytes", str(size), again)
    if source.suffix not in TORCH_SUFFIXES:
        for shard in shards_of(name, source):
            check_safetensors(name, shard, again)
    elif file.format == "torchscript" and file.sha256 is None:
        raise wrong(name, source, "a known sha256", "none for a file that holds code", "give the sha256 of one that you trust")
    if file.sha256 is not None and (found := sha256_of(source)) != file.sha256:
        raise wrong(name, source, f"sha256 {file.sha256}", found, again)


def shards_of(name: str, source: Path) -> list[Path]:
    """The safetensors file itself, or those beside a `*.safetensors.index.json` that its weight map names."""
    if not source.name.endswith(INDEX_SUFFIX):
        return [source]
    try:
        shards = {str(shard) for shard in json.loads(source.read_text())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong(name, source, "a JSON index with a weight_map", "something else", "bring the index of the shards") from None
    paths = [source.with_name(shard) for shard in sorted(shards)]
    for path in paths:
        if not path.is_file():
            raise wrong(name, path, f"a shard that {source.name} names", "none", "bring all shards")
    return paths


def check_safetensors(name: str, source: Path, again: str) -> None:
    """Header and length agree; a truncated file ends before its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="pt") as file:
            file.keys()
    except SafetensorError as error:
        raise wrong(name, source, "safetensors", f"a damaged or other file ({error})", again) from None


def convert(name: str, source: Path, folder: Path) -> Path:
    """What torch saved, written to `folder` as safetensors under a temporary name, then renamed."""
    from safetensors.torch import save_file

    tensors = read_tensors(name, source)
    target = folder / f"{name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file(tensors, partial)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def read_tensors(name: str, source: Path) -> dict[str, Tensor]:
    """A state dict, or the `state_dict` in a checkpoint, read without running code."""
    import torch

    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise wrong(name, source, "tensors only", "a damaged file or one that runs code", "bring the safetensors") from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise wrong(name, source, "a dict of tensors", "other things as well", "bring the state dict alone")
    return {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in content.items()}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(file: PublicFile, path: Path) -> dict[str, Any]:
    """What a later reader needs to know of a file that `obtain` gave: where it is and which bytes they are."""
    facts = {"path": str(path.absolute()), "size": path.stat().st_size, "sha256": sha256_of(path)}
    return facts | file.model_dump(include={"repository", "file", "revision", "licence"})
