"""The notebooks run from top to bottom on what the verbs wrote."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

NOTEBOOKS = REPOSITORY / "notebooks"


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: Path) -> str:
    """Run a notebook in a folder; return all that it printed."""
    for key, value in environment.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    book = nbformat.read(NOTEBOOKS / name, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(
        output.get("text", "") or str(output.get("data", {}).get("text/plain", "")) for output in outputs
    )


def test_every_notebook_is_short_without_outputs_and_tested():
    books = {path.name: nbformat.read(path, as_version=4) for path in NOTEBOOKS.glob("*.ipynb")}
    assert set(books) == {"explore_study.ipynb", "bring_your_own_images.ipynb", "merger_sample.ipynb"}
    for book in books.values():
        assert len(book.cells) <= 12
        assert not any(cell.get("outputs") for cell in book.cells)


@pytest.mark.filterwarnings("ignore")  # the kernel's own
def test_explore_study(small_study, monkeypatch):
    """The newest study of the folder above is found, as from notebooks/ of a checkout."""
    own = small_study.parents[1] / "notebooks"
    own.mkdir(exist_ok=True)
    monkeypatch.delenv("MERGEREXP_ROOT", raising=False)
    said = run("explore_study.ipynb", own, monkeypatch)
    assert f"../studies/{small_study.name} with" in said
    assert "imagenet, random and 0 gaps" in said
    assert "50% mergers: purity" in said
    assert "fold 3" in said


@pytest.mark.filterwarnings("ignore")
def test_bring_your_own_images(galaxies, tmp_path, monkeypatch):
    environment = {"MERGEREXP_IMAGES": galaxies, "MERGEREXP_ROOT": tmp_path}
    said = run("bring_your_own_images.ipynb", tmp_path, monkeypatch, **environment)
    assert "\x1b" not in said  # Jupyter asks programs for colours, and shows their codes
    assert "40 with label 1 (double) and 56 with label 0 (single)" in said
    assert "init=imagenet,random" in said


@pytest.mark.filterwarnings("ignore")
def test_merger_sample(run_verb, tmp_path, monkeypatch):
    import mergerexp.sample

    quick = ["catalogue.mock.area=500", "draws=2", "permutations=9", "regions=0"]
    assert run_verb(mergerexp.sample, "catalogue=mock", *quick) == 0
    monkeypatch.delenv("MERGEREXP_ROOT")
    said = run("merger_sample.ipynb", tmp_path, monkeypatch)
    assert "samples/mock with {'all':" in said
    assert "in truth -0.62" in said
    slopes = [
        float(line.split("alpha")[1].split("±")[0]) for line in said.splitlines() if "galaxies: alpha" in line
    ]
    assert slopes[2] > slopes[0] + 0.3  # without a limit, light galaxies seem to be missing
