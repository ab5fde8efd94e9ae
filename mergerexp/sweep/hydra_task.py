"""Any Hydra application on our schedulers: Hydra's own contract for launchers.

`mergerexp.train` plans its runs itself; this is for every other ``@hydra.main`` function.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from mergerexp.config.launcher import Options
from mergerexp.files import written
from mergerexp.runs.job_folder import DONE, JobFolder
from mergerexp.sweep.job import Job
from mergerexp.sweep.runner import run_jobs
from mergerexp.sweep.schedulers import make_scheduler

TARGET = "mergerexp.sweep.hydra_task:run_saved"


def launch(
    options: Options,
    folder: Path,
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> Sequence[JobReturn]:
    """Compose every job's config, start the jobs, and return what came out, in their order.

    Parameters
    ----------
    options
        Of the launcher.
    folder
        Where the jobs' folders are made.
    context, config, task
        As Hydra gives them to a launcher.
    job_overrides
        Overrides of each job.
    first
        Number of the first job.
    """
    setup_globals()
    folder.mkdir(parents=True, exist_ok=True)
    scheduler = make_scheduler(options, folder.absolute(), code=None)
    Path(str(config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = []
    labels: dict[str, str] = {}
    for number, overrides in enumerate(job_overrides, first):
        cfg = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(cfg):
            cfg.hydra.job.id = f"{number}"
            cfg.hydra.job.num = number
        job = JobFolder((folder / f"{number:04d}").absolute())
        job.path.mkdir(parents=True, exist_ok=True)
        for name in ("return.pkl", "status.json"):  # of an earlier sweep in the same folder
            (job.path / name).unlink(missing_ok=True)
        HydraConfig.instance().set_config(cfg)
        state = {"singletons": Singleton.get_state(), "context": context, "task": task, "config": cfg}
        with written(job.path / "call.pkl") as partial, partial.open("wb") as file:
            cloudpickle.dump(state, file)
        jobs.append(Job(TARGET, job.path))
        labels[str(job.path)] = " ".join(overrides)
    run_jobs(scheduler, jobs, [], labels, str(config.hydra.job.name))
    return [_returned(JobFolder(Path(job.folder)), scheduler.waits) for job in jobs]


def run_saved(path: Path) -> None:
    """Run what `launch` saved: the job's side of it."""
    with (path / "call.pkl").open("rb") as file:
        call = pickle.load(file)  # written by `launch`, on behalf of the same user
    setup_globals()
    Singleton.set_state(call["singletons"])
    result = run_job(
        task_function=call["task"],
        config=call["config"],
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=call["context"],
    )
    with written(path / "return.pkl") as partial, partial.open("wb") as file:
        cloudpickle.dump(result, file)
    if result.status == JobStatus.FAILED:
        raise result._return_value
    JobFolder(path).set_state(DONE)


def _returned(folder: JobFolder, waited: bool) -> JobReturn:
    saved = folder.path / "return.pkl"
    if saved.is_file():
        with saved.open("rb") as file:
            result: JobReturn = pickle.load(file)
        return result
    result = JobReturn(status=JobStatus.FAILED if waited else JobStatus.COMPLETED)
    if waited:
        status: dict[str, Any] = folder.status()
        result.return_value = RuntimeError(f"{folder.path}: {status.get('state')}, {status.get('error')}")
    return result
