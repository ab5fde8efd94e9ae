"""Running any ``@hydra.main`` function on our schedulers, as Hydra expects it of a launcher.

`mergerexp.train` does not need this, since it plans its runs itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

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
from mergerexp.sweep.runner import make_scheduler, submit_jobs, wait_for_jobs

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
    """Compose the config of every job, and run the jobs.

    Parameters
    ----------
    options
        The options of the launcher.
    folder
        The folder in which the folders of the jobs are made.
    context, config, task
        What Hydra passes to the `setup` of a launcher.
    job_overrides
        The overrides of each job.
    first
        The number of the first job.

    Returns
    -------
    sequence of JobReturn
        The result of each job, in the order of `job_overrides`. Jobs that are not waited for count as
        completed, without a value.
    """
    setup_globals()
    scheduler = make_scheduler(options, folder.absolute(), code=None)
    jobs: list[Job] = []
    labels: dict[Path, str] = {}
    for number, overrides in enumerate(job_overrides, first):
        cfg = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(cfg):
            cfg.hydra.job.id = f"{number}"
            cfg.hydra.job.num = number
        job = JobFolder((folder / f"{number:04d}").absolute())
        job.path.mkdir(parents=True, exist_ok=True)
        for name in ("return.pkl", "status.json"):  # left by an earlier sweep in the same folder
            (job.path / name).unlink(missing_ok=True)
        HydraConfig.instance().set_config(cfg)
        state = {"singletons": Singleton.get_state(), "context": context, "task": task, "config": cfg}
        with written(job.path / "call.pkl") as partial, partial.open("wb") as file:
            cloudpickle.dump(state, file)
        jobs.append(Job(TARGET, job.path))
        labels[job.path] = " ".join(overrides)
    submit_jobs(scheduler, jobs, [])
    wait_for_jobs(scheduler, jobs, labels, str(config.hydra.job.name))
    return [_returned(job.folder, scheduler.waits) for job in jobs]


def run_saved(path: Path) -> None:
    """Run in a job what `launch` saved, and save the result.

    Parameters
    ----------
    path
        The folder of the job.
    """
    call = pickle.loads((path / "call.pkl").read_bytes())  # `launch` wrote it, for the same user
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
    _ = result.return_value  # raises the exception of a task that failed
    JobFolder(path).set_state(DONE)


def _returned(folder: JobFolder, waited: bool) -> JobReturn:
    saved = folder.path / "return.pkl"
    if saved.is_file():
        returned: JobReturn = pickle.loads(saved.read_bytes())
        return returned
    result = JobReturn(status=JobStatus.FAILED if waited else JobStatus.COMPLETED)
    if waited:
        status = folder.status()
        result.return_value = RuntimeError(f"{folder.path}: {status.get('state')}, {status.get('error')}")
    return result
