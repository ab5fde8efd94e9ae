"""A tiny study that was really trained, and its model folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mergerexp.predict
import mergerexp.train
from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.runs.run_folder import RunFolder
from tests.conftest import TINY
from tests.survey.places import LARGE


@pytest.fixture(scope="session")
def trained_study(tmp_path_factory, galaxies, datasets) -> Path:
    """Two of four folds, trained once for all tests of surveys."""
    root = tmp_path_factory.mktemp("study")
    data = ("data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}")
    sweep = ("-m", "hydra/launcher=basic", "fold=0,1", f"paths.root={root}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *sweep, *data, *TINY, "trainer.max_epochs=1"])
        with pytest.raises(SystemExit) as stopped:
            mergerexp.train.main()
    assert not stopped.value.code
    return root


def recorded(study: Path) -> pd.DataFrame:
    """Return the predictions of all runs of the study, with their fold."""
    parts = []
    for run in map(RunFolder, sorted((study / "runs").iterdir())):
        parts.append(pd.read_parquet(run.predictions).assign(fold=run.read_config().fold))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="session")
def model_folder(trained_study, datasets, tmp_path_factory) -> Path:
    """The exported networks of both folds."""
    from mergerexp.survey.exporter import Exporter

    models = tmp_path_factory.mktemp("models")
    where = [f"paths.root={trained_study}", f"paths.datasets={datasets}", f"models={models}"]
    chosen = ["allow_partial=true", "register=false", "references=6", "stamp_arcsec=30"]
    return Exporter(compose_cell("export", [*where, *chosen], ExportConfig)).export().path


@pytest.fixture
def field(tmp_path) -> Path:
    """Forty images that nobody has seen, and three that can't be rated."""
    root, rng = tmp_path / "field", np.random.default_rng(5)
    root.mkdir()
    for number in range(40):
        y, x = np.mgrid[:40, :40] - 19.5
        blob = 200 * np.exp(-np.hypot(x, y) / rng.uniform(3, 8))
        if number % 3 == 0:
            blob += 150 * np.exp(-np.hypot(x - 9, y - rng.uniform(-5, 5)) / 3)
        picture = (blob[..., None] + rng.normal(20, 5, (40, 40, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(root / f"{1000 + number}.png")
    (root / "2000.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 40)).save(root / "2001.png")
    Image.new("RGB", (50, 50), (3, 2, 1)).save(root / "2002.png")
    return root


@pytest.fixture
def predict(run_verb, model_folder, tmp_path):
    def run(images: Path, *overrides: str) -> int:
        where = (f"model_folder={model_folder}", f"images={images}", f"surveys={tmp_path / 'surveys'}")
        small = ("chunk=8", "part=16", "any_size=true", "device=cpu")
        return run_verb(mergerexp.predict, *where, *small, *overrides)

    return run


@pytest.fixture
def pictures(galaxies, tmp_path) -> list[Path]:
    """Three images, named by large integers."""
    root = tmp_path / "pictures"
    root.mkdir()
    made = []
    for own_id, path in zip(LARGE, sorted(galaxies.rglob("*.png"))[:3], strict=True):
        made.append(root / f"{own_id}.png")
        made[-1].write_bytes(path.read_bytes())
    return made
