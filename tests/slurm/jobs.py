"""Jobs for the tests of this folder, and what they tell."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import OmegaConf

from mergerexp.config.launcher import SlurmOptions
from mergerexp.config.paths import conf_dir
from mergerexp.runs.job_folder import RUNNING, JobFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.runner import submit_jobs, wait_for_jobs
from mergerexp.sweep.slurm import Slurm
from tests.sweep.tasks import TARGET


def options(**changed: object) -> SlurmOptions:
    """The launcher's options as they are by default, but for small jobs that end soon."""
    values: dict = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra" / "launcher" / "slurm.yaml"))
    del values["_target_"]
    small = {"gpus": 0, "cpus": 1, "mem": "500MB", "timeout": 5, "parallel": 8, "max_requeues": 5}
    return SlurmOptions(**{**values, **small, "signal_lead": 10, **changed})


def run(folders: list[JobFolder], **changed: object) -> None:
    slurm = Slurm(options(**changed), sweep_of(folders), code=None)
    under_way = slurm.active(folders)
    new = [Job(TARGET, folder.path) for folder in folders if folder not in under_way]
    active = [Job(TARGET, folder.path) for folder in folders if folder in under_way]
    submit_jobs(slurm, new, active)
    labels = {folder.path: folder.name for folder in folders}
    wait_for_jobs(slurm, [*new, *active], labels, "test")


def sweep_of(folders: list[JobFolder]) -> Path:
    sweep = folders[0].path.parent / "sweep"
    sweep.mkdir(exist_ok=True)
    return sweep


def meanwhile(act: Callable[[], object], *folders: JobFolder, epoch: int = 5) -> threading.Thread:
    """Do something once all of the jobs have come so far."""

    def wait_and_act() -> None:
        for folder in folders:
            while folder.status().get("epoch", 0) < epoch or folder.status()["state"] != RUNNING:
                time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def job_id(folder: JobFolder) -> str:
    return str(folder.status()["job"])


def starts(folder: JobFolder) -> list[int]:
    return [int(line.split()[0]) for line in (folder.path / "starts.txt").read_text().splitlines()]


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
