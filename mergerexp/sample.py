"""``python -m mergerexp.sample``: the mergers of a rated survey beside all its galaxies."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.console import console
from mergerexp.errors import DataError, describe

if TYPE_CHECKING:
    from mergerexp.analysis.mass_function import Schechter

log = logging.getLogger("mergerexp.sample")  # __name__ is __main__ under python -m


def sample(call: Call[SampleConfig]) -> Done:
    """Measure the samples of a call, usually one, and say where their pages are.

    Parameters
    ----------
    call
        Which catalogues, and how.

    Raises
    ------
    UserError
        If a catalogue can't be read, lacks a column, or has no galaxy that can be used.
    """
    for cfg in call.configs:
        started = time.perf_counter()
        try:
            page = make_sample(cfg)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted: samples are as they were before.") from None
        took = time.perf_counter() - started
        console.print(f"{page.parent}: tables, figures and the page, in {took:.0f} s", soft_wrap=True)
        console.print(f"Open {page.absolute().as_uri()}", soft_wrap=True)
    return Done()


def make_sample(cfg: SampleConfig) -> Path:
    """Read a catalogue and its ratings, compute everything, write the folder; return the page's path.

    Raises
    ------
    UserError
        As `sample` does.
    """
    from mergerexp.files import remove_partial, scratch_folder
    from mergerexp.populations.folder import KIND, write_sample  # takes seconds
    from mergerexp.populations.gather import Gathered
    from mergerexp.populations.measure import measure
    from mergerexp.report.result_folder import check

    check(cfg.folder, KIND)
    prevalence, calibrated_at = _prevalences(cfg)
    own = cfg.folder.with_name(f"{cfg.folder.name}.scratch")
    remove_partial(own.parent, own.name)  # of a process that was killed
    with scratch_folder(own) as scratch:
        file, truth = _catalogue(cfg, scratch)
        gathered = Gathered(cfg, file, scratch)
        for fate, count in gathered.fates.most_common():
            log.info("%s: %d of %d rows", fate, count, gathered.rows)
        found = measure(cfg, gathered, prevalence, calibrated_at, truth)
        for note in found.notes:
            log.warning("%s", note)
        return write_sample(found, cfg.folder)


def _catalogue(cfg: SampleConfig, scratch: Path) -> tuple[Path, dict[str, Schechter]]:
    """Return the catalogue's file, and the true mass functions of a mock one, which is made now."""
    mock, low_high = cfg.catalogue.mock, (cfg.catalogue.redshift[0], cfg.catalogue.redshift[1])
    if mock.area is None:
        assert cfg.catalogue.file is not None  # the config was checked
        return Path(cfg.catalogue.file).expanduser(), {}
    import numpy as np

    from mergerexp.analysis.mock_sample import MockSurvey
    from mergerexp.populations.kinds import ALL, CLASSIFIED

    survey = MockSurvey(paired=mock.paired)
    file = scratch / "mock.parquet"
    survey.draw(low_high, mock.area, np.random.default_rng(mock.seed)).to_parquet(file, index=False)
    return file, {ALL: survey.galaxies, CLASSIFIED: survey.mergers}


def _prevalences(cfg: SampleConfig) -> tuple[float | None, float | None]:
    """Return the fractions of mergers that p_prior and p_calibrated refer to, as predict has noted them."""
    if cfg.ratings is None:
        return None, cfg.catalogue.calibrated_at
    path = Path(cfg.ratings).expanduser().with_name("summary.json")
    if not path.is_file():
        return None, cfg.catalogue.calibrated_at
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return float(summary["prevalence"]), cfg.catalogue.calibrated_at or float(summary["calibrated_at"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what predict writes beside its catalogue: {describe(error)}"
        ) from error


def main() -> None:
    """Run the verb."""
    run_app("sample", SampleConfig, sample)


if __name__ == "__main__":
    main()
