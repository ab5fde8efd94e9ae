"""A tiny study that was really trained, and its model folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

import mergerexp.train
from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.runs.run_folder import RunFolder
from tests.conftest import TINY


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
