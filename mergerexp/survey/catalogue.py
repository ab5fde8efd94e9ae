"""The catalogue of a survey, merged from its parts, in the files that the paper publishes.

The parts are read three times, a row group at once: for the ids that occur again, for the distribution of the
ratings, from which the survey's own fraction of the rare class follows, and to write the rows.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mergerexp.analysis.calibration import prior_shift
from mergerexp.analysis.prevalence import Prevalence, Ratings, estimate_prevalence
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.errors import UserError
from mergerexp.files import write_json, written
from mergerexp.models.classifier import merger_probability
from mergerexp.survey.columns import FRIENDLY, PAPER_FIRST, prior_column, rating_columns, schema_of
from mergerexp.survey.csv_files import CsvGz
from mergerexp.survey.duplicates import DOUBLED, FORBIDDEN, LAST, Standing, find_duplicates
from mergerexp.survey.extremes import DECIMALS, Extremes
from mergerexp.survey.formats import write_as
from mergerexp.survey.model_folder import TESTS, ModelFolder
from mergerexp.survey.parts import ROW_GROUP, Parts
from mergerexp.survey.statuses import Status

log = logging.getLogger(__name__)
NAME = "merger_probabilities"
BAD_FIT = 0.001  # a goodness of fit below this is named
CUTS = (0.9, 0.95, 0.99)
RATED = str(Status.RATED)
NO_RATING = {
    DOUBLED: (Status.DUPLICATE, "another row has this id"),
    FORBIDDEN: (Status.SEEN, "different networks have seen rows with this id"),
}
FEWEST = 30  # ratings that a fraction is estimated from


@dataclass(frozen=True)
class Merged:
    """What became of a survey.

    Attributes
    ----------
    files
        The catalogue's files.
    counts
        How many objects have each status.
    prevalence
        The fraction of the rare class that p_prior refers to.
    estimate
        Its estimate; None if it was given.
    cuts
        For each cut in p_best, how many objects lie above it and their mean p_prior, which is the purity that
        is expected; apart for objects that all networks rated and those that fewer did.
    """

    files: list[Path]
    counts: dict[str, int]
    prevalence: float
    estimate: Prevalence | None
    cuts: list[dict[str, Any]]


class CatalogueWriter:
    """Merges the parts of a survey.

    Parameters
    ----------
    cfg
        The settings.
    model
        The model folder.
    parts
        The parts.
    has_integer_ids
        Whether the ids are integers.
    """

    def __init__(self, cfg: PredictConfig, model: ModelFolder, parts: Parts, has_integer_ids: bool) -> None:
        self.cfg, self.model, self.parts = cfg, model, parts
        self.columns = rating_columns(model.folds, model.class_names[0], has_integer_ids)
        self.calibrated_at = float(model.about["data"]["prevalence"])

    def write(self, folder: Path) -> Merged:
        """Write the catalogue into a folder.

        Raises
        ------
        UserError
            If a part is missing, damaged or a stranger, or no object was rated.
        """
        if strangers := self.parts.strangers():
            raise UserError(f"{strangers[0]} is no part of this survey; move it away")
        for number in range(len(self.parts)):
            self.parts.check(number)
        pieces = ((table["objid"], standing(table)) for table in self._tables())
        doubled = find_duplicates(pieces, self.parts.total, folder)
        prevalence, estimate = self._prevalence(doubled)
        files = [folder / f"{NAME}.parquet", *(folder / f"{NAME}{suffix}.csv.gz" for suffix in PAPER_FIRST)]
        counts, cuts = Counter[str](), CutCounts(len(self.model.folds))
        ends = {end: Extremes(self.cfg.listed, end == "top") for end in ("top", "bottom")}
        with self._writer(files, prevalence) as write:
            for table in self._distinct(doubled):
                finished = self._finished(table, prevalence)
                counts.update(
                    {each["values"]: each["counts"] for each in table["status"].value_counts().to_pylist()}
                )
                cuts.add(finished)
                for kept in ends.values():
                    kept.add(finished)
                write(finished)
        total = sum(counts.values())
        if total != self.parts.total:
            raise UserError(
                f"{folder}: {self.parts.total} objects went in and {total} came out: a fault of ours"
            )
        listed = [self._write_list(folder / f"{NAME}_{end}.csv", kept) for end, kept in ends.items()]
        files += [*listed, *(write_as(files[0], kind) for kind in self.cfg.formats)]
        merged = Merged(files, dict(counts), prevalence, estimate, cuts.rows())
        write_json(folder / "summary.json", self._summary(merged))
        return merged

    @contextlib.contextmanager
    def _writer(self, files: list[Path], prevalence: float) -> Iterator[Callable[[pa.Table], None]]:
        """Return what writes rows into the Parquet and CSV files, which appear when all is written."""
        columns = [*self.columns, prior_column(self.model.class_names[0], prevalence)]
        wanted = [column for column in columns if not self.cfg.friendly or column.name in FRIENDLY]
        schema = schema_of(
            wanted, {"mergerexp.work": self.parts.work, "mergerexp.model_id": self.model.model_id}
        )
        with contextlib.ExitStack() as stack:
            parquet, *texts = (stack.enter_context(written(file)) for file in files)
            sinks = [
                stack.enter_context(contextlib.closing(CsvGz(path, _in_front(schema, first))))
                for path, first in zip(texts, PAPER_FIRST.values(), strict=True)
            ]
            # Compression takes most of the time, and lets other threads work.
            pool = stack.enter_context(ThreadPoolExecutor(len(sinks)))
            with pq.ParquetWriter(parquet, schema, compression="zstd", write_page_checksum=True) as writer:
                waiting: list[pa.Table] = []

                def write(table: pa.Table) -> None:
                    chosen = table.select(schema.names).cast(schema)
                    done = [pool.submit(sink.write, chosen) for sink in sinks]
                    waiting.append(chosen)
                    if sum(map(len, waiting)) >= ROW_GROUP:
                        write_group()
                    for each in done:
                        each.result()

                def write_group() -> None:
                    """Write the rows that wait as one row group, however large the parts are."""
                    if waiting:
                        writer.write_table(pa.concat_tables(waiting).combine_chunks())
                    waiting.clear()

                yield write
                write_group()

    def _write_list(self, path: Path, kept: Extremes) -> Path:
        probabilities = [*(f"p_m{fold}" for fold in self.model.folds), "p_best"]
        frame = kept.frame(["objid", "ra", "dec", *probabilities, "p_prior"])
        with written(path) as partial:
            frame.to_csv(partial, index=False, float_format=f"%.{DECIMALS}f")
        return path

    def _tables(self) -> Iterator[pa.Table]:
        for number in range(len(self.parts)):
            yield from self.parts.tables(number)

    def _distinct(self, doubled: NDArray[np.uint8]) -> Iterator[pa.Table]:
        """Yield the rows, of which at most one has the rating of an id."""
        start = 0
        for table in self._tables():
            here = np.asarray(doubled[start : start + len(table)])
            start += len(table)
            for state, (status, reason) in NO_RATING.items():
                if (rows := here == state).any():
                    table = _without_ratings(table, rows, status, reason)
            yield table

    def _prevalence(self, doubled: NDArray[np.uint8]) -> tuple[float, Prevalence | None]:
        """Return the fraction of the rare class, given or estimated from the ratings of unseen objects.

        The estimates of all networks are averaged, and so are the limits of their intervals, since the
        ratings of one object by several networks are not independent.
        """
        if self.cfg.prevalence is not None:
            return self.cfg.prevalence, None
        folds = self.model.folds
        ratings = {fold: Ratings.of([]) for fold in folds}
        for table in self._distinct(doubled):
            unseen = table.filter(pc.invert(table["in_training_set"]))
            for fold in folds:
                ratings[fold] += Ratings.of(unseen[f"p_m{fold}"].drop_null().to_numpy())
        tests, found = self.model.read_table(TESTS), []
        for fold in folds:
            if ratings[fold].counts.sum() < FEWEST:
                continue
            own = tests[tests["fold"] == fold]
            p_m = merger_probability(own[["logit_0", "logit_1"]].to_numpy(dtype=np.float32))
            label = own["label"].to_numpy(dtype=np.int64)
            found.append(estimate_prevalence(ratings[fold], label, p_m, seed=self.cfg.seed))
        if not found:
            log.warning(
                "fewer than %d objects outside the training set are rated, too few to estimate the fraction "
                "of %s: p_prior refers to that of the training set, %.3g; prevalence=FRACTION gives another",
                FEWEST, self.model.class_names[0], self.calibrated_at,
            )  # fmt: skip
            return self.calibrated_at, None
        estimate = _mean(found)
        log.info(
            "fraction of %s in the survey: %.4f (95 %%: %.4f to %.4f)",
            self.model.class_names[0], estimate.value, estimate.low, estimate.high,
        )  # fmt: skip
        if estimate.p_value < BAD_FIT:
            log.warning(
                "the ratings are not distributed as those of any mixture of the two classes (p = %.1g): the "
                "survey has objects unlike the labelled ones, and neither this fraction nor p_prior can be "
                "believed",
                estimate.p_value,
            )
        tiny = 0.5 / max(1, self.parts.total)
        return float(np.clip(estimate.value, tiny, 1 - tiny)), estimate

    def _finished(self, table: pa.Table, prevalence: float) -> pa.Table:
        """Return rows with p_prior."""
        calibrated = table["p_calibrated"].to_numpy(zero_copy_only=False)
        shifted = np.full(len(calibrated), np.nan)
        known = ~np.isnan(calibrated)
        shifted[known] = prior_shift(calibrated[known], self.calibrated_at, prevalence)
        return table.append_column("p_prior", pa.array(shifted, pa.float64(), from_pandas=True))

    def _summary(self, merged: Merged) -> dict[str, Any]:
        return {
            "work": self.parts.work,
            "model_id": self.model.model_id,
            "objects": self.parts.total,
            "status": {str(status): merged.counts.get(str(status), 0) for status in Status},
            "prevalence": merged.prevalence,
            "estimate": merged.estimate and asdict(merged.estimate),
            "calibrated_at": self.calibrated_at,
            "cuts": merged.cuts,
        }


class CutCounts:
    """How many objects lie above some cuts in p_best, and how pure they are expected to be.

    A mean of four networks and the rating of one are not cut alike by the same number.

    Parameters
    ----------
    networks
        The number of networks.
    """

    def __init__(self, networks: int) -> None:
        self._networks = networks
        self._sums = {(cut, is_all): np.zeros(2) for cut in CUTS for is_all in (True, False)}

    def add(self, table: pa.Table) -> None:
        """Count rows."""
        best, prior = (table[name].to_numpy(zero_copy_only=False) for name in ("p_best", "p_prior"))
        by_all = table["n_models"].to_numpy() == self._networks
        for (cut, is_all), sums in self._sums.items():
            above = (best > cut) & (by_all == is_all)
            sums += above.sum(), np.nansum(prior[above])

    def rows(self) -> list[dict[str, Any]]:
        """Return what was counted, one dictionary for each cut and kind of object."""
        return [
            {
                "p_best_above": cut,
                "networks": str(self._networks) if is_all else f"fewer than {self._networks}",
                "objects": int(n),
                "expected_purity": float(total / n) if n else None,
            }
            for (cut, is_all), (n, total) in self._sums.items()
        ]


def standing(table: pa.Table) -> Standing:
    """Return which row of an id is to have its rating: a usable image, that the fewest networks may rate.

    A network that has seen one image of an object, by content or position, must not rate another image of it.
    What is known by its id alone is known of every row with that id.
    """
    p_m = [name for name in table.schema.names if re.fullmatch(r"p_m\d+", name)]
    forbidden = np.zeros(len(table), dtype=np.uint32)
    for bit, name in enumerate(p_m):
        forbidden |= np.asarray(table[name].is_null()).astype(np.uint32) << np.uint32(bit)
    is_usable = np.asarray(pc.is_in(table["status"], pa.array([RATED, str(Status.SEEN)])))
    by_more = np.asarray(pc.not_equal(pc.fill_null(table["matched_by"], "id"), "id"))
    without_image = np.where(by_more, np.uint32(2 ** len(p_m) - 1), np.uint32(0))
    ranks = np.where(is_usable, table["n_models"].to_numpy().astype(np.int64), LAST)
    return Standing(ranks, np.where(is_usable, forbidden, without_image))


def _in_front(schema: pa.Schema, first: str) -> list[str]:
    """Return the names of the columns with ids, positions and then a probability in front."""
    front = [name for name in ("objid", "ra", "dec", first) if name in schema.names]
    return [*front, *(name for name in schema.names if name not in front)]


def _without_ratings(table: pa.Table, rows: NDArray[np.bool_], status: Status, reason: str) -> pa.Table:
    mask = pa.array(rows)
    for at, field in enumerate(table.schema):
        if field.name.startswith(("p_", "logit_sd")):
            values = pc.if_else(mask, pa.scalar(None, field.type), table[field.name])
        elif field.name == "n_models":
            values = pc.if_else(mask, pa.scalar(0, field.type), table[field.name])
        elif field.name == "status":
            values = pc.if_else(mask, pa.scalar(str(status)), table[field.name])
        elif field.name == "reason":
            values = pc.if_else(mask, pa.scalar(reason), table[field.name])
        else:
            continue
        table = table.set_column(at, field, values)
    return table


def _mean(found: list[Prevalence]) -> Prevalence:
    """Return the mean of estimates, with the worst of their goodnesses of fit, as likely as among so many."""
    worst = min(found, key=lambda each: each.p_value)
    p_value = min(1.0, worst.p_value * len(found))
    value, low, high = (
        float(np.mean([getattr(each, key) for each in found])) for key in ("value", "low", "high")
    )
    return Prevalence(value, low, high, worst.deviance, worst.degrees, p_value)
