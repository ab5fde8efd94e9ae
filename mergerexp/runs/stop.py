"""Requests to a run, by signals, to write a checkpoint between two training steps and perhaps to stop there.

A signal may arrive at any instruction, and in the middle of an optimiser step the state is inconsistent. So
the handlers only set flags, which the training loop reads after every mini-batch.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_save = False
_stop = False


class StopRequested(BaseException):
    """The run was asked to stop; this is raised between two steps, after the checkpoint was written."""


def save_on(signum: int) -> None:
    """Let a signal ask for a checkpoint after the current step, after which the run goes on."""

    def request(received: int, frame: FrameType | None) -> None:
        global _save
        _save = True

    signal.signal(signum, request)


def stop_on(signum: int, grace_s: int, otherwise: Callable[[int, FrameType | None], Any]) -> None:
    """Let a signal ask for a checkpoint after the current step, after which the run stops.

    Parameters
    ----------
    signum
        The number of the signal.
    grace_s
        How long the step may take, in whole seconds.
    otherwise
        The signal handler that is called if the step takes longer, or if the training has not begun yet.
    """

    def request(received: int, frame: FrameType | None) -> None:
        global _save, _stop
        _save = _stop = True
        signal.signal(signal.SIGALRM, otherwise)
        signal.alarm(grace_s)

    signal.signal(signum, request)


def wants_checkpoint() -> bool:
    """Tell whether a checkpoint was asked for since the last one."""
    return _save


def checkpoint_written() -> None:
    """Clear the request for a checkpoint, once that was written.

    Raises
    ------
    StopRequested
        If the run was also asked to stop.
    """
    global _save, _stop
    _save = False
    if _stop:
        _stop = False
        signal.alarm(0)
        raise StopRequested
