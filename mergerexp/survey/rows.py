"""The rows of the catalogue for rated stamps: who may rate an object, and with which calibrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mergerexp.analysis.ensemble import combined
from mergerexp.models.classifier import merger_probability
from mergerexp.survey.calibration import FoldCalibrators
from mergerexp.survey.columns import Column, schema_of
from mergerexp.survey.seen import BY, NO_CALIBRATOR, Eligibility, Objects, SeenObjects
from mergerexp.survey.stamps import StampChunk
from mergerexp.survey.statuses import Status


class RowMaker:
    """Makes the rows of a catalogue.

    Parameters
    ----------
    columns
        The columns, as `mergerexp.survey.columns.rating_columns` gives them.
    seen
        The objects that the networks have seen.
    calibrators
        Platt's calibrators of each fold.
    id_system
        The name of the system of the ids.
    width
        The width of a stamp on the sky in arcseconds; NaN if it is not known.
    model_id
        The identity of the model folder.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        seen: SeenObjects,
        calibrators: Mapping[int, FoldCalibrators],
        id_system: str,
        width: float,
        model_id: str,
    ) -> None:
        self.schema = schema_of(columns)
        self._seen, self._calibrators = seen, calibrators
        self._id_system, self._width, self._model_id = id_system, width, model_id

    def rows(self, chunk: StampChunk, logits: NDArray[np.float32]) -> pa.Table:
        """Return the rows of a chunk.

        Parameters
        ----------
        chunk
            The objects.
        logits
            Their logits by each network, shape (n, folds, 2); those of objects without a stamp are not used.
        """
        eligible = self._seen.eligibility(self._objects(chunk))
        is_stamp = np.array([each is Status.RATED for each in chunk.status], dtype=bool)
        may = eligible.allowed & is_stamp[:, None]
        p_m = np.where(may, self._probabilities(logits), np.nan)
        calibrated = np.where(may, self._calibrated(p_m, eligible), np.nan)
        n, of_all = may.sum(axis=1), combined(p_m, calibrated)
        status = [
            Status.SEEN if one is Status.RATED and not count else one
            for one, count in zip(chunk.status, n.tolist(), strict=True)
        ]
        reasons = [
            "the networks were trained on it or stopped by it" if one is Status.SEEN else reason or None
            for one, reason in zip(status, chunk.reasons, strict=True)
        ]
        values: dict[str, Any] = {
            "objid": [item.id for item in chunk.items],
            "id_system": [self._id_system] * len(chunk.items),
            "ra": _numbers([item.ra for item in chunk.items]),
            "dec": _numbers([item.dec for item in chunk.items]),
            **{f"p_m{fold}": _numbers(p_m[:, at]) for at, fold in enumerate(self._calibrators)},
            "p_best": _numbers(of_all.p_best),
            "p_logitmean": _numbers(of_all.p_logitmean),
            "logit_sd": _numbers(of_all.logit_sd),
            "n_models": n.astype(np.int16),
            "in_training_set": eligible.in_training_set,
            "matched_by": _ways(eligible),
            "p_calibrated": _numbers(of_all.p_calibrated),
            "status": [str(one) for one in status],
            "reason": reasons,
            "image_sha256": chunk.sha256,
            "model_id": [self._model_id] * len(chunk.items),
        }
        arrays = [pa.array(values[field.name], field.type) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _objects(self, chunk: StampChunk) -> Objects:
        items = chunk.items
        return Objects(
            self._id_system,
            np.array([str(item.id) for item in items], dtype=object),
            np.array([item.ra for item in items]),
            np.array([item.dec for item in items]),
            np.full(len(items), self._width),
            chunk.content,
            chunk.stamp,
            np.array([-1 if item.group is None else item.group for item in items], dtype=np.int64),
        )

    @staticmethod
    def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
        n, folds, _ = logits.shape
        return merger_probability(logits.reshape(n * folds, 2)).reshape(n, folds)

    def _calibrated(self, p_m: NDArray[np.float64], eligible: Eligibility) -> NDArray[np.float64]:
        """Return calibrated probabilities, NaN where every calibrator was fitted on the object."""
        found = np.full(p_m.shape, np.nan)
        for at, calibrators in enumerate(self._calibrators.values()):
            part = eligible.part[:, at]
            for number in np.unique(part).tolist():
                if number == NO_CALIBRATOR or (calibrator := calibrators.of_part(number)) is None:
                    continue
                rows = (part == number) & ~np.isnan(p_m[:, at])
                found[rows, at] = calibrator.apply(p_m[rows, at])
        return found


def _numbers(values: Any) -> pa.Array:
    """Return numbers with nulls in place of NaN."""
    return pa.array(np.asarray(values, dtype=np.float64), pa.float64(), from_pandas=True)


def _ways(eligible: Eligibility) -> list[str | None]:
    return [
        " ".join(way for way, is_so in zip(BY, row, strict=True) if is_so) or None for row in eligible.matched
    ]
