"""Rating a survey: its objects in parts, and then one catalogue."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from mergerexp.config.device import resolve_device
from mergerexp.config.launcher import Options
from mergerexp.config.paths import absolute_path
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.console import ProgressReport, amount, duration
from mergerexp.cores import usable_cores
from mergerexp.errors import UserError
from mergerexp.files import read_json, remove_partial, write_json
from mergerexp.hashing import digest
from mergerexp.models.ancestors import SEEN
from mergerexp.runs.job_folder import LockedFolder
from mergerexp.survey.calibration import read_calibrators
from mergerexp.survey.catalogue import CatalogueWriter, Merged
from mergerexp.survey.columns import rating_columns
from mergerexp.survey.drift import ALIKE, LEVELS, drift, image_statistics, matching_crop, typical_size
from mergerexp.survey.in_order import in_order
from mergerexp.survey.inputs import Place, open_again, open_input
from mergerexp.survey.inputs.prepared import PreparedSet
from mergerexp.survey.model_folder import CALIBRATORS, ModelFolder
from mergerexp.survey.parts import Parts
from mergerexp.survey.rating import Rater
from mergerexp.survey.rows import RowMaker
from mergerexp.survey.seen import SeenObjects
from mergerexp.survey.stamps import StampChunk, make_chunk
from mergerexp.survey.statuses import Status
from mergerexp.training.machine import choose_device, set_up_torch

log = logging.getLogger(__name__)
VERSION = 1  # This has to be raised when the same settings come to give other ratings.
WORK, OBJECTS = "survey.json", "objects.arrow"
CHUNK_OF_CPU, CHUNK_OF_GPU = 32, 256  # images
TRIED = 8  # chunks that are rated to tell how long the rest takes
BLOCKS, BLOCK = 16, 32  # of objects that are looked at for drift before any is rated


class Survey:
    """The objects of an input, a model folder, and the ratings that they give.

    Parameters
    ----------
    cfg
        What is rated, with which model, and how.
    launcher
        The options of the launcher whose jobs do the work; None if this process does it.
    is_listed
        Whether another process has listed the objects; see `begin`.

    Raises
    ------
    UserError
        If the model folder or the input can't be used, or the output folder belongs to other work.
    """

    def __init__(self, cfg: PredictConfig, launcher: Options | None = None, is_listed: bool = False) -> None:
        self.cfg, self.model = cfg, ModelFolder.open(Path(cfg.model_folder).expanduser())
        given = self.model.about["input"]
        images = Path(absolute_path(cfg.images))
        root = None if cfg.root is None else Path(cfg.root).expanduser()
        self.folder = cfg.folder
        place = Place(images, cfg.columns, root, cfg.id_system, self.model.size)
        if is_listed:
            known = read_json(self.folder / WORK)["input"]
            self.input = open_again(place, known, self.folder / OBJECTS)
        else:
            self.input = open_input(place, _existing(self.folder))
        self.image_size = None if cfg.any_size or given["image_size"] is None else tuple(given["image_size"])
        self.crop = self.model.crop if cfg.crop is None else cfg.crop
        self.has_stamps = isinstance(self.input, PreparedSet)
        if cfg.crop is not None and self.has_stamps:
            raise UserError(f"crop={cfg.crop}: the stamps of a prepared data set are rated as they are")
        self.width = float(cfg.stamp_arcsec or given["arcsec"] or "nan")
        self.device = resolve_device("device", cfg.device, launcher)
        self.chunk = cfg.chunk or (CHUNK_OF_CPU if self.device == "cpu" else CHUNK_OF_GPU)
        self.chunks = max(1, cfg.part // self.chunk)  # of a part
        self.settings = self._settings()
        work = digest(self.settings)
        self.parts = Parts(self.folder / "parts", work, len(self.input), self.chunk, self.chunks)
        if not cfg.dry_run:
            self._check_folder()

    def _settings(self) -> dict[str, Any]:
        """Return all that the ratings depend on."""
        return {
            "version": VERSION,
            "model_id": self.model.model_id,
            "input": self.input.identity(),
            "objects": len(self.input),
            "image_size": self.image_size and list(self.image_size),
            "crop": self.crop,
            "stamp_arcsec": None if np.isnan(self.width) else self.width,
            "chunk": self.chunk,
            "part": self.chunk * self.chunks,
            "threads_of_a_chunk": 1,
            "device": self.device,
        }

    def _check_folder(self) -> None:
        file = self.folder / WORK
        if file.is_file() and read_json(file) != self.settings:
            known = read_json(file)
            other = [key for key, value in self.settings.items() if known.get(key) != value]
            raise UserError(
                f"{self.folder} has ratings with another {' and '.join(other)}: choose another name=NAME, or "
                "remove the folder"
            )

    def look(self) -> pd.DataFrame:
        """Decode some objects, spread over the input, and return the statistics of their stamps.

        Sentences about what is unusual are logged as warnings.
        """
        usable, looked_at, reason = self._sample(self.crop)
        if not len(usable):
            raise UserError(
                f"images={self.cfg.images}: none of {amount(looked_at, 'sampled object')} has a usable "
                f"image; the first one: {reason}"
            )
        statistics = image_statistics(usable)
        for sentence in drift(statistics, self.model.about["input"]["statistics"]):
            log.warning("the survey drifts from the training set. %s", sentence)
        if len(usable) < looked_at:
            log.warning("%d of %d sampled objects have no usable image", looked_at - len(usable), looked_at)
        return statistics

    def estimate(self, statistics: pd.DataFrame) -> list[str]:
        """Rate a few chunks, and return what the rating of everything would take, as lines of text.

        Parameters
        ----------
        statistics
            Those of the sample that `look` has returned.
        """
        rater, maker = self._proven_rater(), self._row_maker()
        ranges = [chunk for number in range(len(self.parts)) for chunk in self.parts.ranges(number)[:1]]
        few = (ranges if len(ranges) >= TRIED else self.parts.ranges(0))[:TRIED]
        started = time.perf_counter()
        tables = list(self._tables(rater, maker, few))
        rate = sum(map(len, tables)) / (time.perf_counter() - started)
        size = sum(table.nbytes for table in tables) / sum(map(len, tables))
        return [
            f"{amount(len(self.input), 'object')} in {amount(len(self.parts), 'part')}",
            f"about {rate:.0f} objects/s on this machine: {duration(len(self.input) / rate)} for all",
            f"at most {len(self.input) * size * 2 / 1e6:.1f} MB for parts and catalogue",
            self._scale(typical_size(statistics)),
        ]

    def _scale(self, here: float) -> str:
        """Say how large galaxies are beside those of the training set, and which crop makes them as large."""
        there = self.model.about["input"]["statistics"]["half_light"][LEVELS.index(0.5)]
        said = f"half of the light: within {here:.3f} of a stamp's side, in the training set {there:.3f}"
        if self.has_stamps or not there or abs(here / there - 1) <= ALIKE:
            return said
        crop = matching_crop(lambda crop: typical_size(image_statistics(self._sample(crop)[0])), there)
        return said if crop is None else f"{said}: crop={crop} makes galaxies about as large"

    def _sample(self, crop: float) -> tuple[NDArray[np.uint8], int, str]:
        """Return usable stamps of some objects, how many were looked at, and what is wrong with the first."""
        stamps, looked_at, reason = [], 0, ""
        decode = functools.partial(self._stamps, crop=crop)
        for chunk in in_order(decode, _spread(len(self.input)), usable_cores()):
            told = (f"{item.id}: {why}" for item, why in zip(chunk.items, chunk.reasons, strict=True) if why)
            reason = reason or next(told, "")
            looked_at += len(chunk.status)
            stamps.append(chunk.stamps[np.array([each is Status.RATED for each in chunk.status])])
        return np.concatenate(stamps), looked_at, reason

    @contextlib.contextmanager
    def looked_after(self) -> Iterator[None]:
        """Let this process be the one that has the survey rated.

        Raises
        ------
        UserError
            If another process does.
        """
        try:
            with LockedFolder(self.folder).lock().acquire(timeout=0):
                yield
        except filelock.Timeout:
            raise UserError(f"{self.folder}: another process rates this survey") from None

    def missing(self) -> list[int]:
        """Return the parts that are not there, or not whole."""
        return [number for number in range(len(self.parts)) if not self.parts.is_done(number)]

    def begin(self, for_others: bool = False) -> None:
        """Make the folder, and note what its ratings depend on.

        Parameters
        ----------
        for_others
            Whether other processes are to rate parts, which need the list of the objects.
        """
        self.parts.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / WORK, self.settings)
        if for_others:
            self.input.save(self.folder / OBJECTS)

    def rate(
        self,
        numbers: Sequence[int],
        between: Callable[[], None] = lambda: None,
        rated: Callable[[int, float], None] = lambda done, rate: None,
    ) -> None:
        """Rate the objects of some parts, after the model has proved itself.

        Parameters
        ----------
        numbers
            The parts.
        between
            This is called between two chunks, and may raise an exception; the part is then lost.
        rated
            This is called after each part with the number of parts that are done, and with the objects that
            are rated in a second.

        Raises
        ------
        UserError
            If the model does not rate its reference objects as the study did.
        """
        if not numbers:
            return
        rater, maker = self._proven_rater(), self._row_maker()
        total = sum(map(self.parts.rows, numbers))
        with ProgressReport("rating", total) as report:
            started, objects, rate = time.perf_counter(), 0, 0.0
            for done, number in enumerate(numbers, 1):
                if self.parts.is_done(number):  # by another process meanwhile
                    report.advance(self.parts.rows(number), "done by another process")
                    continue
                tables = []
                for table in self._tables(rater, maker, self.parts.ranges(number)):
                    tables.append(table)
                    objects += len(table)
                    rate = objects / (time.perf_counter() - started)
                    report.advance(len(table), f"{rate:.0f} objects/s")
                    between()
                self.parts.write(number, tables)
                rated(done, rate)

    def _proven_rater(self) -> Rater:
        set_up_torch(1)
        rater = Rater(self.model, self.chunk, choose_device(self.device, "device"))
        log.info("the model gives its recorded logits, to %.1g", rater.prove())
        return rater

    def merge(self) -> Merged:
        """Merge the parts into the catalogue.

        Raises
        ------
        UserError
            If a part is missing, damaged or not of this survey.
        """
        for folder in (self.folder, self.parts.folder):
            remove_partial(folder)  # of processes that were killed
        writer = CatalogueWriter(self.cfg, self.model, self.parts, self.input.has_integer_ids)
        merged = writer.write(self.folder)
        (self.folder / OBJECTS).unlink(missing_ok=True)  # nobody needs it any more
        return merged

    def _tables(self, rater: Rater, maker: RowMaker, ranges: Sequence[tuple[int, int]]) -> Iterator[pa.Table]:
        """Yield the rows of each chunk.

        On a processor each chunk has one thread, so that its bits do not depend on the number of cores. On a
        GPU the threads only decode.
        """
        if self.device == "cpu":

            def make(given: tuple[int, int]) -> pa.Table:
                chunk = self._stamps(given)
                return maker.rows(chunk, rater.logits(chunk.stamps))

            yield from in_order(make, ranges, usable_cores(), functools.partial(torch.set_num_threads, 1))
        else:
            for chunk in in_order(self._stamps, ranges, usable_cores()):
                yield maker.rows(chunk, rater.logits(chunk.stamps))

    def _stamps(self, given: tuple[int, int], crop: float | None = None) -> StampChunk:
        return make_chunk(self.input, *given, self.model.size, crop or self.crop, self.image_size)

    def _row_maker(self) -> RowMaker:
        folds = self.model.folds
        return RowMaker(
            rating_columns(folds, self.model.class_names[0], self.input.has_integer_ids),
            SeenObjects(self.model.read_table(SEEN), folds),
            {fold: read_calibrators(self.model.fold_path(fold) / CALIBRATORS)["platt"] for fold in folds},
            self.input.id_system,
            self.width,
            self.model.model_id,
        )


def parts_of(folder: Path) -> Parts:
    """Return the parts of a survey that was begun, by what `Survey.begin` has noted."""
    known = read_json(folder / WORK)
    chunk, chunks = known["chunk"], known["part"] // known["chunk"]
    return Parts(folder / "parts", digest(known), known["objects"], chunk, chunks)


def _existing(folder: Path) -> Path:
    """Return a folder that is there and can be written to: this one, the next above, or the system's own."""
    for path in (folder, *folder.absolute().parents):
        if path.is_dir():
            return path if os.access(path, os.W_OK) else Path(tempfile.gettempdir())
    return Path(tempfile.gettempdir())


def _spread(total: int) -> list[tuple[int, int]]:
    """Return ranges of objects that are spread evenly: a few blocks, since tables are read in blocks."""
    if total <= BLOCKS * BLOCK:
        return [(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK)]
    starts = np.linspace(0, total - BLOCK, BLOCKS).round().astype(int).tolist()
    return [(start, start + BLOCK) for start in starts]
