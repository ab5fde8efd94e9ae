"""Slurm's commands, and what they do to whole arrays of jobs."""

from __future__ import annotations

import os
import re
import subprocess

COMMAND_TIMEOUT_S = 30  # for the answer of a Slurm command
# Users set these for their own calls of Slurm. A filter or another format would hide jobs from us.
USER_FORMATS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_TIME_FORMAT")
MAX_ARRAY_SIZE = 1001  # Slurm's default; the indices are smaller


def slurm_answer(*command: str) -> str | None:
    """Return the output of a Slurm command; None if the command is missing, fails or does not answer."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(USER_FORMATS)}
    environment["SLURM_BITSTR_LEN"] = "0"  # long lists of array tasks are not abbreviated
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def on_clusters(clusters: str | None) -> tuple[str, ...]:
    """Return the option that names clusters, for all commands, since sacct ignores SLURM_CLUSTERS."""
    return () if clusters is None else ("-M", clusters)


def cancel_array(name: str, clusters: str | None) -> None:
    """Cancel the jobs of an array that Slurm may have accepted without confirming it.

    Parameters
    ----------
    name
        The name of the array.
    clusters
        The clusters that it was submitted to; None for the one of this machine.
    """
    slurm_answer("scancel", *on_clusters(clusters), "--name", name)


def limit_array(array: str, clusters: str | None, jobs: int) -> bool:
    """Set how many jobs of an array may run at once, and tell whether Slurm did so; see `cancel_array`."""
    command = ("scontrol", *on_clusters(clusters), "update", f"JobId={array}", f"ArrayTaskThrottle={jobs}")
    return slurm_answer(*command) is not None


def max_array_size(clusters: str | None) -> int:
    """Return how many jobs an array may have, by Slurm's default if it does not say; see `cancel_array`."""
    said = slurm_answer("scontrol", *on_clusters(clusters), "show", "config") or ""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said, re.MULTILINE)
    return max(1, int(found[1])) if found else MAX_ARRAY_SIZE
