"""Batches for Lightning, each of which depends on seed and step alone, so that resuming is exact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mergerexp.batches.augment import draw_transforms, is_exact, is_identity, transform, view_transforms
from mergerexp.batches.images import ImageStore
from mergerexp.batches.sampling import BalancedSampler
from mergerexp.config.schema import AugmentConfig
from mergerexp.seeding import seed_for


class Batch(NamedTuple):
    """The inputs, shape (B, ...), and labels, shape (B,), of one batch, on the device."""

    inputs: Tensor
    labels: Tensor


class TrainingBatches(ABC):
    """Class-balanced mini-batches of an epoch, from the step at which training stands.

    Parameters
    ----------
    labels
        The label (0 or 1) of each training object, shape (n,).
    per_class
        The number of objects of each class in a batch.
    seed
        The seed of the order and the augmentation.
    device
        The device that batches are made on.
    """

    def __init__(self, labels: ArrayLike, per_class: int, seed: int, device: torch.device) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        self.sampler = BalancedSampler(self.labels, per_class, seed)
        self.seed, self.device = seed, device
        # Returns the number of optimiser steps taken so far; the training sets it.
        self.position: Callable[[], int] = lambda: 0

    def __len__(self) -> int:
        return self.sampler.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        start = self.position()
        end = (start // len(self) + 1) * len(self)
        for step in range(start, end):
            members = self.sampler.batch(step)
            generator = torch.Generator().manual_seed(seed_for(self.seed, "augment", step))
            labels = torch.from_numpy(self.labels[members]).to(self.device)
            yield Batch(self._inputs(members, generator), labels)

    @abstractmethod
    def _inputs(self, members: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        """Return the inputs of some training objects, augmented."""


class ImageBatches(TrainingBatches):
    """Class-balanced mini-batches of augmented, scaled images.

    Parameters
    ----------
    images
        The images of the whole data set.
    rows
        The row of each training object in the data set, shape (n,).
    labels
        The label (0 or 1) of each training object, shape (n,).
    augment
        The augmentation.
    per_class
        The number of objects of each class in a batch.
    seed
        The seed of the order and the augmentation.
    """

    def __init__(
        self,
        images: ImageStore,
        rows: NDArray[np.int64],
        labels: ArrayLike,
        augment: AugmentConfig,
        per_class: int,
        seed: int,
    ) -> None:
        super().__init__(labels, per_class, seed, images.device)
        self.images, self.rows, self.augment = images, rows, augment

    def _inputs(self, members: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        pixels = self.images.pixels(self.rows[members])
        if not is_identity(self.augment):
            matrices = draw_transforms(self.augment, len(members), generator)
            pixels = transform(pixels, matrices, is_exact(self.augment))
        return self.images.scaled(pixels)


class FeatureBatches(TrainingBatches):
    """Class-balanced mini-batches of the frozen features of a random view of each object.

    Parameters
    ----------
    features
        The features of each view of each training object, float16, shape (views, n, D).
    labels
        The label (0 or 1) of each training object, shape (n,).
    per_class
        The number of objects of each class in a batch.
    seed
        The seed of the order and the views.
    device
        The device that batches are made on.
    """

    def __init__(
        self,
        features: NDArray[np.float16],
        labels: ArrayLike,
        per_class: int,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(labels, per_class, seed, device)
        self.features = torch.from_numpy(features).to(device)

    def _inputs(self, members: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        views = torch.randint(len(self.features), (len(members),), generator=generator)
        chosen = torch.from_numpy(members)
        return self.features[views.to(self.device), chosen.to(self.device)].float()


class ImageEvaluation:
    """Batches of scaled images in a fixed order, either unchanged or in one fixed augmented view.

    Parameters
    ----------
    images
        The images of the whole data set.
    rows
        The row of each object in the data set, shape (n,).
    labels
        The label (0 or 1) of each object, shape (n,).
    batch
        The number of images in a batch.
    augment
        The augmentation whose view 1 is shown; None for unchanged images.
    """

    def __init__(
        self,
        images: ImageStore,
        rows: NDArray[np.int64],
        labels: ArrayLike,
        batch: int,
        augment: AugmentConfig | None = None,
    ) -> None:
        self.images, self.rows, self.batch, self.augment = images, rows, batch, augment
        self.labels = torch.as_tensor(np.asarray(labels, dtype=np.int64)).to(images.device)
        self.matrices = None if augment is None else view_transforms(augment, 1, len(images))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.rows), self.batch):
            rows = self.rows[start : start + self.batch]
            pixels = self.images.pixels(rows)
            if self.augment is not None and self.matrices is not None:
                pixels = transform(pixels, self.matrices[torch.from_numpy(rows)], is_exact(self.augment))
            yield Batch(self.images.scaled(pixels), self.labels[start : start + self.batch])


class FeatureEvaluation:
    """One batch of frozen features, shape (n, D), in a fixed order."""

    def __init__(self, features: NDArray[np.float16], labels: ArrayLike, device: torch.device) -> None:
        self.features = torch.from_numpy(features).to(device)
        self.labels = torch.as_tensor(np.asarray(labels, dtype=np.int64)).to(device)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield Batch(self.features.float(), self.labels)
