"""NVIDIA's multi-process service (MPS), which lets runs that share a GPU compute at the same moment.

Without it they take turns in time slices. One H100 trained eight Xceptions 1.2 times as fast with it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)
TOOL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
TIMEOUT_S = 20
# A process of its own, since one that has begun to use a GPU can't be forked. It asks the driver for the
# first GPU, as torch would, which fails where the service does not work.
PROBE = (
    "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); context = ctypes.c_void_p(); "
    "raise SystemExit(cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))"
)


class Mps:
    """A service for each GPU, where it can be started and is not there already.

    Parameters
    ----------
    gpus
        The GPUs that runs share, in the form of ``CUDA_VISIBLE_DEVICES``.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self._services: dict[str, dict[str, str]] = {}
        self._folder: str | None = None
        if not gpus or PIPES in os.environ or shutil.which(TOOL) is None:
            return  # the runs take turns, or the site has started the service
        self._folder = tempfile.mkdtemp(prefix="mergerexp-mps-")  # short: a Unix socket's path is limited
        for number, gpu in enumerate(gpus):
            if (variables := _started(gpu, Path(self._folder) / str(number))) is not None:
                self._services[gpu] = variables
        if self._services:
            log.info("runs share GPUs by NVIDIA's multi-process service")

    def variables(self, gpu: str) -> dict[str, str]:
        """Return the environment variables with which a run gets a GPU."""
        # The service of a GPU knows no other, so that its only one is its first.
        known = self._services.get(gpu)
        return {"CUDA_VISIBLE_DEVICES": gpu} if known is None else {**known, "CUDA_VISIBLE_DEVICES": "0"}

    def stop(self) -> None:
        """Stop the services and remove their files."""
        for variables in self._services.values():
            _quit(variables)
        self._services = {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _started(gpu: str, folder: Path) -> dict[str, str] | None:
    """Start the service for a GPU, and return the variables that lead to it; None if it does not work."""
    variables = {PIPES: str(folder / "pipes"), LOGS: str(folder / "logs")}
    for path in variables.values():
        Path(path).mkdir(parents=True)
    try:
        _call([TOOL, "-d"], {**variables, "CUDA_VISIBLE_DEVICES": gpu})
    except (OSError, subprocess.SubprocessError) as error:
        log.info("NVIDIA's multi-process service does not start on GPU %s (%s)", gpu, error)
        return None
    try:
        _call([sys.executable, "-c", PROBE], {**variables, "CUDA_VISIBLE_DEVICES": "0"})
    except (OSError, subprocess.SubprocessError) as error:
        log.info("NVIDIA's multi-process service does not work on GPU %s (%s)", gpu, error)
        _quit(variables)
        return None
    return variables


def _quit(variables: dict[str, str]) -> None:
    try:
        _call([TOOL], variables, "quit\n")
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("NVIDIA's multi-process service does not stop (%s)", error)


def _call(command: Sequence[str], variables: dict[str, str], given: str | None = None) -> None:
    environment = {**os.environ, **variables}
    # The output goes nowhere: the service goes on in the background and would keep a pipe open.
    subprocess.run(
        command,
        env=environment,
        input=given,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=True,
    )
