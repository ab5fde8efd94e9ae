"""Rating stamps with all networks of a model folder, in chunks of one shape and with one number of threads.

The logits of a network depend in their last bits on the shape of the batch and on the number of threads. Both
are fixed for a survey, and the last chunk is filled up, so that shards and restarts give the same bits on one
kind of processor.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mergerexp.analysis.calibrators import Platt
from mergerexp.cores import usable_cores
from mergerexp.errors import UserError
from mergerexp.models.classifier import merger_probability
from mergerexp.survey.calibration import read_calibrators
from mergerexp.survey.in_order import in_order
from mergerexp.survey.model_folder import CALIBRATORS, REFERENCES, TESTS, ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.survey.references import decode_references

AGAIN = "the model folder or this machine's software does not rate as the study did"
SAME_CALIBRATOR = 1e-6  # by how much slope and intercept may differ from a fit to the recorded logits


class Rater:
    """The networks of all folds.

    Parameters
    ----------
    model
        The model folder.
    chunk
        The number of stamps that are rated at once.
    device
        Where to compute.

    Raises
    ------
    UserError
        If a network can't be rebuilt.
    """

    def __init__(self, model: ModelFolder, chunk: int, device: torch.device) -> None:
        self.model, self.chunk, self.device = model, chunk, device
        self.networks = {
            fold: FoldNetwork.load(model.fold_path(fold), model.scaling).to(device) for fold in model.folds
        }

    def logits(self, stamps: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits of stamps by every network.

        Parameters
        ----------
        stamps
            At most as many stamps as a chunk has, uint8, shape (n, size, size, 3).

        Returns
        -------
        ndarray
            The logits, shape (n, folds, 2).
        """
        filled = self._filled(stamps)
        found = [network.logits(filled)[: len(stamps)] for network in self.networks.values()]
        return np.stack(found, axis=1).astype(np.float32)

    def _filled(self, stamps: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the stamps of a chunk, after which empty ones follow if it is the last and has fewer."""
        if len(stamps) == self.chunk:
            return stamps
        filled = np.zeros((self.chunk, *stamps.shape[1:]), dtype=np.uint8)
        filled[: len(stamps)] = stamps
        return filled

    def prove(self) -> float:
        """Rate the reference objects from their bytes, and compare with what the study recorded.

        Returns
        -------
        float
            The largest difference of a logit.

        Raises
        ------
        UserError
            If a logit differs by more than the tolerance of its network, or a calibrator is not the one that
            the recorded logits of its test fold give.
        """
        rows = self.model.read_table(REFERENCES)
        about = dict(zip(self.model.folds, self.model.about["folds"], strict=True))
        worst = 0.0
        for fold, difference in zip(about, self._differences(rows), strict=True):
            if not difference <= float(about[fold]["tolerance"]):
                raise UserError(
                    f"{self.model.fold_path(fold)}: the logits of its reference objects differ by "
                    f"{difference:.2g} from the recorded ones, and {about[fold]['tolerance']:.2g} at most is "
                    f"allowed: {AGAIN}"
                )
            worst = max(worst, difference)
        self._prove_calibrators()
        return worst

    def _differences(self, rows: pd.DataFrame) -> Iterator[float]:
        """Yield by how much the logits of reference objects differ from the recorded ones, for each fold."""

        def difference(fold: int) -> float:
            own = rows[rows["fold"] == fold]
            if own.empty:
                raise UserError(f"{self.model.path / REFERENCES}: it has no reference object of fold {fold}")
            images, kinds = own["image"].tolist(), own["kind"].tolist()
            try:
                stamps = decode_references(images, kinds, self.model.size, self.model.crop)
            except UserError as error:
                raise UserError(f"{self.model.path / REFERENCES}: fold {fold}: {error}") from error
            parts = [stamps[at : at + self.chunk] for at in range(0, len(stamps), self.chunk)]
            network = self.networks[fold]
            logits = np.concatenate([network.logits(self._filled(part))[: len(part)] for part in parts])
            recorded = own[["logit_0", "logit_1"]].to_numpy(dtype=np.float64)
            return float(np.abs(logits.astype(np.float32) - recorded).max())

        workers = usable_cores() if self.device.type == "cpu" else 1
        begin = functools.partial(torch.set_num_threads, 1)
        return in_order(difference, self.model.folds, workers, begin)

    def _prove_calibrators(self) -> None:
        tests = self.model.read_table(TESTS)
        for fold in self.model.folds:
            path = self.model.fold_path(fold) / CALIBRATORS
            own = tests[tests["fold"] == fold]
            logits = own[["logit_0", "logit_1"]].to_numpy(dtype=np.float32)
            again = Platt.fit(own["label"].to_numpy(dtype=np.int64), merger_probability(logits))
            found = read_calibrators(path)["platt"].whole
            assert isinstance(found, Platt)
            apart = max(abs(found.slope - again.slope), abs(found.intercept - again.intercept))
            if not apart <= SAME_CALIBRATOR:
                raise UserError(f"{path}: these calibrators do not belong to this network: {AGAIN}")
