"""Run a notebook and turn it into one self-contained page and its picture, with the same bytes every time."""

import base64
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import papermill
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from cola_world.reporting.results import write

KERNEL = "cola-world"
TEMPLATES = Path(__file__).parent / "templates"
NOTEBOOKS, REPORTS = Path("notebooks"), Path("reports")
IMAGES = {"svg": "image/svg+xml", "png": "image/png"}


class Rendered(NamedTuple):
    page: str
    images: dict[str, bytes]


def render(name: str, root: Path) -> None:
    """Write reports/<name>.html and reports/figures/<name>.{svg,png} below `root`.

    Raises ValueError if there is no such notebook, or with the error of the cell that failed; then nothing is
    written.
    """
    rendered = convert(execute(name, root))
    for kind, content in rendered.images.items():
        write(root / REPORTS / "figures" / f"{name}.{kind}", content)
    write(root / REPORTS / f"{name}.html", rendered.page)


def execute(name: str, root: Path) -> NotebookNode:
    """Execute the notebook with `root` as working directory, and normalise it."""
    path = root / NOTEBOOKS / f"{name}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.ipynb")))
        raise ValueError(f"report: {name!r} is no page; the pages are {known}")
    with tempfile.TemporaryDirectory() as folder, own_kernel(Path(folder)):
        try:
            papermill.execute_notebook(
                path, Path(folder, "executed.ipynb"), cwd=root, kernel_name=KERNEL, progress_bar=False, log_output=False
            )
        except papermill.PapermillExecutionError as error:
            raise ValueError(f"{name}: cell {error.cell_index} failed: {error.ename}: {error.evalue}") from None
        return normalise(nbformat.read(Path(folder, "executed.ipynb"), as_version=4))


@contextmanager
def own_kernel(folder: Path) -> Iterator[None]:
    """Provide a kernel that is this interpreter, known below `folder` only. No configuration of the user reaches it."""
    spec = folder / "kernels" / KERNEL
    spec.mkdir(parents=True)
    content = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "--log-level=50", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
    }
    (spec / "kernel.json").write_text(json.dumps(content))
    variables = {
        "JUPYTER_PATH": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "JUPYTER_CONFIG_DIR": str(folder),
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "agg",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs between two runs of one notebook: times, paths, cell ids, messages."""
    notebook.metadata = NotebookNode(language_info=NotebookNode(name="python"))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = NotebookNode(tags=cell.metadata.get("tags", []))
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return notebook


def convert(notebook: NotebookNode) -> Rendered:
    """Convert the executed notebook to a page that needs no other file, and its first picture."""
    resources = {"page": {"title": title(notebook), "style": (TEMPLATES / "style.css").read_text()}}
    exporter = HTMLExporter(
        template_name="basic",
        template_file="page.html.j2",
        extra_template_basedirs=[str(TEMPLATES)],
        extra_template_paths=[str(TEMPLATES)],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    page, _ = exporter.from_notebook_node(notebook, resources=resources)
    page = re.sub(r"\n\s*\n+", "\n", page)
    return Rendered(page.rstrip() + "\n", pictures(notebook))


def title(notebook: NotebookNode) -> str:
    """Return the first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return found[1]
    raise ValueError("notebook: it has no heading; its first cell must begin with `# `")


def pictures(notebook: NotebookNode) -> dict[str, bytes]:
    """Return bytes by file ending of the first output that holds both image types."""
    for data in outputs(notebook):
        if all(kind in data for kind in IMAGES.values()):
            return {"svg": data[IMAGES["svg"]].encode(), "png": base64.b64decode(data[IMAGES["png"]])}
    raise ValueError("notebook: no cell shows a picture; `page.picture(figure, alt)` makes one")


def outputs(notebook: NotebookNode) -> Iterator[dict[str, Any]]:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            yield output.get("data", {})
