"""Asking a run to save its state between two steps, and to stop there.

A signal may come at any instruction: in the middle of an optimiser's step there is nothing worth saving.
So the handlers only leave a note, and the training loop looks at it after every mini-batch.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

_save = False
_stop = False


class StopRequested(BaseException):
    """Raised between two steps, once the checkpoint is written."""


def save_on(signum: int) -> None:
    """Write a checkpoint after the current step when the signal comes, and go on."""

    def note(received: int, frame: FrameType | None) -> None:
        global _save
        _save = True

    signal.signal(signum, note)


def stop_on(signum: int, patience_s: int, otherwise: Callable[[], None]) -> None:
    """Write a checkpoint after the current step when the signal comes, and stop.

    Parameters
    ----------
    signum
        The signal.
    patience_s
        Whole seconds that the step may take.
    otherwise
        Called where it takes longer, or where the run is not at training yet.
    """

    def late(received: int, frame: FrameType | None) -> None:
        otherwise()

    def note(received: int, frame: FrameType | None) -> None:
        global _save, _stop
        _save = _stop = True
        signal.signal(signal.SIGALRM, late)
        signal.alarm(patience_s)

    signal.signal(signum, note)


def wants_checkpoint() -> bool:
    """Tell whether somebody has asked for a checkpoint since the last one."""
    return _save


def checkpoint_written() -> None:
    """Answer the request.

    Raises
    ------
    StopRequested
        If the request was to stop there.
    """
    global _save, _stop
    _save = False
    if _stop:
        _stop = False
        signal.alarm(0)
        raise StopRequested
