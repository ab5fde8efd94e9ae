"""A training step that a CUDA GPU repeats as one captured graph, since launching its kernels takes longer."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from mergerexp.batches.loaders import Batch
from mergerexp.errors import ConfigError

log = logging.getLogger(__name__)
EAGER_STEPS = 3  # after which the optimiser has its state, and cuDNN has chosen its algorithms


class CapturedStep:
    """A training step whose kernels are recorded once, and then started together by a single call.

    The first steps, also those after a resume, are done without a graph. A replayed step does the same
    arithmetic in the same order, so that its results are the same to the bit.

    Parameters
    ----------
    step
        The step: forward, backward and optimiser. It returns the loss, must not read any value back, and has
        to be given batches of one size.
    required
        Whether a step that cannot be captured is an error. Otherwise it is done without a graph from then on.
    """

    def __init__(self, step: Callable[[Batch], Tensor], required: bool) -> None:
        self._step, self._required = step, required
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_left: float = EAGER_STEPS
        self._batch: Batch | None = None
        self._loss: Tensor | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Do the step with a batch, and return its loss.

        Raises
        ------
        ConfigError
            If a graph is required, and the step cannot be captured.
        """
        if self._graph is None and self._eager_left == 0:
            self._capture(batch)
        if self._graph is None or self._batch is None or self._loss is None:
            self._eager_left -= 1
            return self._uncaptured(batch)
        for fixed, new in zip(self._batch, batch, strict=True):
            fixed.copy_(new)
        self._graph.replay()
        return self._loss.clone()

    def _uncaptured(self, batch: Batch) -> Tensor:
        """Do the step on the stream of the capture, on which the gradients then belong."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self._step(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _capture(self, batch: Batch) -> None:
        fixed, graph = Batch(*(part.clone() for part in batch)), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                loss = self._step(fixed)
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            if self._required:
                raise ConfigError(
                    "trainer.cuda_graph=always: the training step of this network cannot be captured as a "
                    f"CUDA graph ({reason}); use trainer.cuda_graph=auto"
                ) from error
            log.warning("training without a CUDA graph, since the step cannot be captured: %s", reason)
            self._eager_left = float("inf")
            return
        self._graph, self._batch, self._loss = graph, fixed, loss
