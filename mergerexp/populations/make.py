"""One sample: its catalogue is read or made up, everything is computed, and the folder is written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from mergerexp.analysis.mass_function import Schechter
from mergerexp.analysis.mock_sample import MockSurvey
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.errors import DataError, describe
from mergerexp.files import remove_partial, scratch_folder
from mergerexp.populations.checks import check_settings
from mergerexp.populations.folder import KIND, write_sample
from mergerexp.populations.gather import Gathered
from mergerexp.populations.kinds import ALL, CLASSIFIED
from mergerexp.populations.measure import measure
from mergerexp.report.result_folder import reserved

log = logging.getLogger(__name__)


def make_sample(cfg: SampleConfig) -> Path:
    """Read a catalogue and its ratings, compute everything, write the folder; return the page's path.

    Raises
    ------
    UserError
        If a catalogue can't be read, lacks a column, or has no galaxy that can be used.
    """
    check_settings(cfg)
    own = cfg.folder.with_name(f"{cfg.folder.name}.scratch")
    with reserved(cfg.folder, KIND):
        remove_partial(own.parent, own.name)  # of a process that was killed
        with scratch_folder(own) as scratch:
            return _make(cfg, scratch)


def _make(cfg: SampleConfig, scratch: Path) -> Path:
    if cfg.catalogue.mock.area is None:
        assert cfg.catalogue.file is not None  # the config was checked
        file, (prior_at, calibrated_at) = Path(cfg.catalogue.file).expanduser(), _prevalences(cfg)
        truth: dict[str, Schechter] = {}
    else:
        file, prior_at, truth = _mock(cfg, scratch)
        calibrated_at = cfg.catalogue.calibrated_at
    gathered = Gathered(cfg, file, scratch)
    for fate, count in gathered.fates.most_common():
        log.info("%s: %d of %d rows", fate, count, gathered.rows)
    found = measure(cfg, gathered, prior_at, calibrated_at, truth)
    for note in found.notes:
        log.warning("%s", note)
    return write_sample(found, cfg.folder)


def _mock(cfg: SampleConfig, scratch: Path) -> tuple[Path, float, dict[str, Schechter]]:
    """Make a mock survey; return its file, its fraction of mergers and its true mass functions."""
    mock, low_high = cfg.catalogue.mock, (cfg.catalogue.redshift[0], cfg.catalogue.redshift[1])
    assert mock.area is not None
    survey = MockSurvey(paired=mock.paired)
    file = scratch / "mock.parquet"
    table = survey.draw(low_high, mock.area, np.random.default_rng(mock.seed))
    table.to_parquet(file, index=False)
    return file, float(table["is_merger"].mean()), {ALL: survey.galaxies, CLASSIFIED: survey.mergers}


def _prevalences(cfg: SampleConfig) -> tuple[float | None, float | None]:
    """Return the fractions of mergers that p_prior and p_calibrated refer to, as predict has noted them."""
    prior_at, calibrated_at = cfg.catalogue.prior_at, cfg.catalogue.calibrated_at
    path = None if cfg.ratings is None else Path(cfg.ratings).expanduser().with_name("summary.json")
    if path is None or not path.is_file():
        return prior_at, calibrated_at
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return prior_at or float(summary["prevalence"]), calibrated_at or float(summary["calibrated_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what predict writes beside its catalogue: {describe(error)}"
        ) from error
