"""Places for jobs on one machine: so many on each GPU, or on the cores of a machine without GPUs."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence

from mergerexp.config.launcher import MOST_ON_A_GPU
from mergerexp.console import amount
from mergerexp.cores import gpu_memory_mb
from mergerexp.runs.job_folder import JobFolder

log = logging.getLogger(__name__)
SHARE = 0.9  # of a GPU's memory; what runs take varies a little
LEAST_MB = 50.0  # a run that seems to take less could not be seen by the driver's tool


class Places:
    """So many places, which are on the GPUs in turn.

    Parameters
    ----------
    n
        The number of places.
    gpus
        The GPUs, in the form of ``CUDA_VISIBLE_DEVICES``; empty for a machine without any.
    """

    def __init__(self, n: int, gpus: Sequence[str]) -> None:
        self.n, self.gpus = n, list(gpus)
        self._free = deque(range(n))

    def gpu(self, place: int) -> str | None:
        """Return the GPU of a place; None without GPUs."""
        return self.gpus[place % len(self.gpus)] if self.gpus else None

    def take(self) -> int | None:
        """Return a place that is free now and no longer after this; None if there is none."""
        return self._free.popleft() if self._free else None

    def leave(self, place: int) -> None:
        """Make a place free again."""
        self._free.append(place)

    def look(self, taken: Mapping[int, JobFolder]) -> None:
        """Learn how many jobs fit, from those that are there; the number of these places is fixed.

        Parameters
        ----------
        taken
            The jobs that are running, by their places.
        """


class MeasuredPlaces(Places):
    """One place on each GPU at first, and as many as its memory holds once a run shows what it takes.

    A run shows it when an epoch of its last stage is over, after which it takes no more.

    Parameters
    ----------
    gpus
        The GPUs.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        super().__init__(MOST_ON_A_GPU * len(gpus), gpus)
        self._fit = dict.fromkeys(self.gpus, 1)
        self._taken = dict.fromkeys(self.gpus, 0)
        self._unknown = set(self.gpus)
        self._epochs: dict[int, object] = {}  # where the runs stood when they were first seen
        memory = gpu_memory_mb()
        self._before = {gpu: memory[gpu][0] for gpu in self.gpus if gpu in memory}

    def take(self) -> int | None:
        """Return a place on a GPU that has room for another run."""
        for place in sorted(self._free):
            gpu = self.gpus[place % len(self.gpus)]
            if self._taken[gpu] < self._fit[gpu]:
                self._free.remove(place)
                self._taken[gpu] += 1
                return place
        return None

    def leave(self, place: int) -> None:
        """Make a place free again."""
        super().leave(place)
        self._taken[self.gpus[place % len(self.gpus)]] -= 1
        self._epochs.pop(place, None)

    def look(self, taken: Mapping[int, JobFolder]) -> None:
        """Measure what a run takes on each GPU on which that is not known yet and a run shows it."""
        for place, folder in taken.items():
            gpu = self.gpus[place % len(self.gpus)]
            if gpu not in self._unknown:
                continue
            status = folder.status()
            epoch = status.get("epoch")
            if epoch != self._epochs.setdefault(place, epoch) and status.get("is_last_stage"):
                self._unknown.remove(gpu)
                self._fit[gpu] = self._room(gpu)

    def _room(self, gpu: str) -> int:
        used, total = gpu_memory_mb().get(gpu, (0.0, 0.0))
        run = used - self._before.get(gpu, used)
        if run < LEAST_MB:
            log.warning("GPU %s: the driver does not say what a run takes, so it gets one at a time", gpu)
            return 1
        fit = max(1, min(MOST_ON_A_GPU, int((SHARE * total - self._before[gpu]) / run)))
        log.info("GPU %s: a run takes %.1f GB, so it gets %s at once", gpu, run / 1e3, amount(fit, "run"))
        return fit
