"""What several tests share: the repository's root, its files, and a copy of it in which the graph may run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


# The longest files begin first, and what waits for the graph comes last, so that no worker waits for long.
FIRST, LAST = ("test_graph", "test_faults", "test_pages"), ("test_graph_changes",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(FIRST)} | dict.fromkeys(LAST, len(FIRST) + 1)
    items.sort(key=lambda item: rank.get(item.path.stem, len(FIRST)))


def repository_files() -> list[Path]:
    """Files that are or will be in git, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted({Path(name) for name in names if name and (ROOT / name).is_file()})


def copy_repository(target: Path) -> None:
    """The repository as a fresh clone of its present state: one commit, no cache, no runs."""
    for name in repository_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "A copy for the tests"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=target, check=True)


@pytest.fixture(scope="session")
def files() -> list[Path]:
    return repository_files()


@pytest.fixture(scope="session", autouse=True)
def plain_environment():
    """Neither a hook's git variables nor another program's scratch folder reach what tests start."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "COLA_SCRATCH"):
        os.environ.pop(name, None)


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A folder with the repository's dials and profiles, to be turned."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "stages" / "profiles", tmp_path / "stages" / "profiles")
    return tmp_path


@pytest.fixture
def good(tmp_path):
    """A small file with the names of the public STDiT3."""
    path = tmp_path / "model.safetensors"
    # Only here: it imports torch, which tests of the graph do without.
    from public_files import write_public

    write_public(path)
    return path
