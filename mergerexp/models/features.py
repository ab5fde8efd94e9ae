"""Pooled features of a frozen backbone, which are kept in the feature bank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mergerexp.batches.augment import is_exact, training_views, transform, view_transforms
from mergerexp.batches.images import ImageStore
from mergerexp.config.schema import TrainConfig
from mergerexp.console import ProgressReport
from mergerexp.hashing import digest
from mergerexp.models.bank import FeatureBank

VERSION = 3  # has to be raised when the features of the same image change


class FrozenFeatures:
    """The features that the frozen stage trains and validates on.

    Parameters
    ----------
    backbone
        The backbone on its device. It is put in evaluation mode, so that BatchNorm statistics are frozen too.
    images
        The images of the data set with the input scaling of the backbone.
    cfg
        The config of the run, which has the augmentation that the fixed views are taken from, the number of
        images in one forward pass, and the folder of all banks.
    weights_id
        The identity of the backbone with its weights.
    content_hash
        The identity of the data set.
    """

    def __init__(
        self, backbone: nn.Module, images: ImageStore, cfg: TrainConfig, *, weights_id: str, content_hash: str
    ) -> None:
        self.backbone = backbone.eval()
        self.images, self.augment = images, cfg.augment
        self.batch, self.progress = cfg.model.feature_batch, cfg.trainer.progress
        self.passes = 0  # images that went through the backbone
        augment = cfg.augment
        views = [augment.rotation, augment.flip, augment.zoom, augment.zoom_isotropic, augment.shift]
        key = digest(
            {
                "version": VERSION,
                "weights": weights_id,
                "batch": self.batch,
                "data": content_hash,
                "scaling": [images.scaling.mean, images.scaling.std, images.scaling.scale],
                "views": views,
            }
        )
        self.bank = FeatureBank(Path(cfg.paths.features) / key)

    def training(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the features of the rows in every training view, shape (views, n, D)."""
        return self._get(training_views(self.augment), rows)

    def plain(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the features of the unchanged images of the rows, shape (n, D)."""
        features: NDArray[np.float16] = self._get(range(1), rows)[0]
        return features

    def _get(self, views: range, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        with ProgressReport("frozen features", len(views) * len(rows), enabled=self.progress) as report:
            return np.stack([self.bank.get(view, rows, self._compute, report.advance) for view in views])

    @torch.inference_mode()
    def _compute(self, view: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        matrices = view_transforms(self.augment, view, len(self.images))
        parts = []
        for start in range(0, len(rows), self.batch):
            some = rows[start : start + self.batch]
            pixels = self.images.pixels(some)
            if view:
                pixels = transform(pixels, matrices[torch.from_numpy(some)], is_exact(self.augment))
            # Rounding depends on the shape of a batch, and the missing rows depend on other runs. All batches
            # therefore have one shape, so that the features of an image are the same in whichever run.
            spare = self.batch - len(some)
            pixels = torch.cat([pixels, pixels[:1].expand(spare, *pixels.shape[1:])]) if spare else pixels
            features = self.backbone(self.images.scaled(pixels))[: len(some)]
            parts.append(features.float().cpu().numpy())
        self.passes += len(rows)
        return np.concatenate(parts)
