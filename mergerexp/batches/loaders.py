"""Batches for Lightning, each of which depends on seed and step alone, so that resuming is exact."""

from __future__ import annotations

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


# From the positions of some training objects and a generator of random numbers, their augmented inputs.
Inputs = Callable[[NDArray[np.int64], torch.Generator], Tensor]


class TrainingBatches:
    """Class-balanced mini-batches of an epoch, from the step at which training stands.

    Parameters
    ----------
    inputs
        The inputs of the training objects: `augmented_images` or `random_views`.
    labels
        The label (0 or 1) of each training object, shape (n,).
    per_class
        The number of objects of each class in a batch.
    seed
        The seed of the order and the augmentation.
    device
        The device that batches are made on.
    """

    def __init__(
        self, inputs: Inputs, labels: ArrayLike, per_class: int, seed: int, device: torch.device
    ) -> None:
        self.inputs, self.seed, self.device = inputs, seed, device
        self.labels = np.asarray(labels, dtype=np.int64)
        self.sampler = BalancedSampler(self.labels, per_class, seed)
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
            yield Batch(self.inputs(members, generator), labels)


def augmented_images(images: ImageStore, rows: NDArray[np.int64], augment: AugmentConfig) -> Inputs:
    """Return a function that makes scaled images, augmented at random.

    Parameters
    ----------
    images
        The images of the whole data set.
    rows
        The row of each training object in the data set, shape (n,).
    augment
        The augmentation.
    """

    def inputs(members: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        pixels = images.pixels(rows[members])
        if not is_identity(augment):
            matrices = draw_transforms(augment, len(members), generator)
            pixels = transform(pixels, matrices, is_exact(augment))
        return images.scaled(pixels)

    return inputs


def random_views(features: NDArray[np.float16], device: torch.device) -> Inputs:
    """Return a function that takes the frozen features of a random view of each object.

    Parameters
    ----------
    features
        The features of each view of each training object, float16, shape (views, n, D).
    device
        The device to keep them on.
    """
    stored = torch.from_numpy(features).to(device)

    def inputs(members: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        views = torch.randint(len(stored), (len(members),), generator=generator)
        return stored[views.to(device), torch.from_numpy(members).to(device)].float()

    return inputs


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


class Lent:
    """Batches that can be taken back from a borrower who never lets go of them.

    A trainer of Lightning refers to itself, so that it lives on after its work until Python searches for such
    circles. Until then it would keep the images or features of the batches in the memory of the device.

    Parameters
    ----------
    batches
        The batches of an epoch.
    """

    def __init__(self, batches: TrainingBatches | ImageEvaluation | FeatureEvaluation) -> None:
        self._batches: TrainingBatches | ImageEvaluation | FeatureEvaluation | None = batches

    def __len__(self) -> int:
        return len(self._batches or ())

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches or ())

    def close(self) -> None:
        """Take the batches back; there are none here any more."""
        self._batches = None
