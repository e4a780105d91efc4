"""What a scale starts from and a person or the hub has to bring: weight files and corpora, found or missing."""

from pathlib import Path
from typing import NamedTuple

from cola_world.data.corpora import CorpusConfig
from cola_world.data.lerobot import open_dataset
from cola_world.data.simulators import ENVIRONMENTS
from cola_world.doctor.estimate import Corpora
from cola_world.weights.public import PublicFile, WeightsError, verify
from cola_world.workspace.faults import nearest
from cola_world.workspace.params import Params
from cola_world.workspace.profile import Profile
from cola_world.workspace.runs import mixture


class Supply(NamedTuple):
    """`fault` is one line if the supply is missing or wrong."""

    name: str
    state: str
    fault: str = ""


def missing(name: str, why: str) -> Supply:
    return Supply(name, "missing", f"{name}: {why}")


def find_weights(profile: Profile, rows: dict[str, PublicFile], root: Path) -> list[Supply]:
    """Find the files that the profile names. Size and form are checked here, the sha256 only at their use."""
    supplies = [find_file(name, row, root) for name, row in rows.items()]
    if profile.vae.path:
        here = (root / profile.vae.path).exists()
        name = "vae.path"
        supplies.append(Supply(name, profile.vae.path) if here else missing(name, f"{profile.vae.path} does not exist"))
    return supplies


def find_file(name: str, file: PublicFile, root: Path) -> Supply:
    label = f"weights.{name}"
    path = root / file.path if file.path else downloaded(file)
    if path is None:
        if file.revision is None:
            return missing(label, f"{file.file} is on no hub; give its path in the profile")
        size = f" ({file.size / 1e9:.2f} GB)" if file.size else ""
        return missing(label, f"{file.repository}/{file.file}{size} is not here; `dvc repro pipelines/data/dvc.yaml:weights` fetches it")
    unhashed = file if file.format == "torchscript" else file.model_copy(update={"sha256": None})
    try:
        verify(name, unhashed, path)
    except WeightsError as error:
        return Supply(label, "wrong", str(error))
    return Supply(label, str(path))


def downloaded(file: PublicFile) -> Path | None:
    """Return the file in the hub's own cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    if file.revision is None:
        return None
    path = try_to_load_from_cache(file.repository, file.file, revision=file.revision)
    return Path(path) if isinstance(path, str) else None


def find_corpora(params: Params, profile: Profile, root: Path) -> tuple[list[Supply], Corpora]:
    """Find each corpus of params.yaml, and the episodes of all that are here or can be rendered."""
    supplies, episodes = [], []
    for name, corpus in params.corpora.items():
        supply, lengths = find_corpus(name, corpus, profile, root)
        supplies.append(supply)
        episodes += [(frames, corpus.stride) for frames in lengths]
    without = [Supply(f"mixture.{group}", "no corpus; the others share its weight") for group in mixture(params).missing]
    return supplies + without, Corpora(episodes)


def find_corpus(name: str, corpus: CorpusConfig, profile: Profile, root: Path) -> tuple[Supply, list[int]]:
    """Find a corpus and the lengths of its episodes."""
    label = f"corpora.{name}"
    if corpus.path is None:
        if corpus.environment not in ENVIRONMENTS:
            closest = nearest(corpus.environment, list(ENVIRONMENTS))
            return missing(label, f"{corpus.environment!r} is no simulator; nearest is {closest!r}"), []
        lengths = [profile.simulate.frames] * profile.simulate.episodes
        return Supply(label, f"rendered by `simulate`: {sum(lengths):,} frames"), lengths
    try:
        lengths = [ref.frames for ref in open_dataset(root / corpus.path).episodes]
    except (ValueError, OSError) as error:
        return missing(label, str(error)), []
    return Supply(label, f"{corpus.path}: {sum(lengths):,} frames"), lengths
