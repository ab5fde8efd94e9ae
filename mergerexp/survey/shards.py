"""A survey in shards: jobs of a launcher, each of which rates some of the survey's parts.

Which parts a shard has depends on its number alone, and a part has the same bytes whoever makes it. So shards
can be preempted, started again and changed in number, and the catalogue stays the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mergerexp.config.frozen import write_frozen
from mergerexp.config.launcher import Options, SlurmOptions
from mergerexp.config.paths import absolute_path
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.config.typed import typed
from mergerexp.console import amount, set_up_logging
from mergerexp.files import restored_on_error, write_json
from mergerexp.hashing import digest
from mergerexp.runs import stop
from mergerexp.runs.job_folder import DONE, RUNNING, JobFolder
from mergerexp.seals import check_signed
from mergerexp.survey.survey import Survey, parts_of
from mergerexp.sweep.job import Job
from mergerexp.sweep.job_sweep import JobSweep
from mergerexp.sweep.runner import Scheduler, make_scheduler, submit_jobs, wait_for_jobs
from mergerexp.sweep.slurm_queue import refuse_jobs_in_slurm
from mergerexp.sweep.snapshot import snapshot

log = logging.getLogger(__name__)
TARGET = f"{__name__}:rate_shard"
CONFIG = "shard.yaml"  # the frozen settings of the survey, with the number of the shard


class ShardSweep(JobSweep):
    """The shards of a survey, which a launcher starts.

    Parameters
    ----------
    survey
        The survey.
    options
        The options of the launcher.
    """

    def __init__(self, survey: Survey, options: Options) -> None:
        self.survey = survey
        self.shards = min(survey.cfg.shards, len(survey.parts))
        # The id of a sweep depends on the names of its jobs, which therefore have to tell surveys apart.
        folder = survey.folder.absolute()  # jobs may have another working directory
        of = f"of-{self.shards:06d}-{digest([str(folder), survey.parts.work], 10)}"
        names = [f"{number + 1:06d}-{of}" for number in range(self.shards)]
        shards = folder / "shards"
        sweeps = Path(survey.cfg.paths.sweeps).expanduser().absolute()
        super().__init__(sweeps, [JobFolder(shards / name) for name in names], options)

    def run(self) -> bool:
        """Start the shards that have parts to rate, and wait until all are over, if the launcher waits.

        Returns
        -------
        bool
            False if there are jobs that are not waited for.

        Raises
        ------
        UserError
            If another process looks after these shards, or the jobs can't be submitted.
        """
        missing = self.survey.missing()
        if not missing:
            return True
        with self.looked_after():
            self.survey.begin(for_others=True)
            with restored_on_error([self.folder.file]):  # what is refused is nothing that status could show
                scheduler, jobs = self._submit(self._lacking(missing))
            labels = {self.folders[number].path: self._label(number) for number in self._numbers}
            wait_for_jobs(scheduler, jobs, labels, self.title)
        return self.waits or not jobs

    @property
    def _numbers(self) -> range:
        return range(self.shards)

    def _label(self, number: int) -> str:
        return f"shard {number + 1} of {self.shards}"

    def _lacking(self, missing: Sequence[int]) -> list[list[int]]:
        """Return the parts that each shard has to rate."""
        lacking: list[list[int]] = [[] for _ in self._numbers]
        for part in missing:
            lacking[part % self.shards].append(part)
        return lacking

    def _submit(self, lacking: Sequence[Sequence[int]]) -> tuple[Scheduler, list[Job]]:
        """Submit the shards that lack parts; return the scheduler, and the jobs that are under way."""
        labels = [[self._label(number)] for number in self._numbers]
        self.folder.write(self.folders, labels, [1.0] * self.shards)
        scheduler = make_scheduler(self.options, self.folder.path, snapshot(self.sweeps))
        if not isinstance(self.options, SlurmOptions):
            refuse_jobs_in_slurm(self.folders)
        under_way = scheduler.active(self.folders)
        new = []
        for number, folder in enumerate(self.folders):
            if lacking[number] and folder not in under_way:
                if folder.is_done():  # somebody has removed parts, or they are damaged
                    write_json(folder.again, {})
                if self.is_to_start(folder):
                    write_shard(folder, self.survey.cfg, self.survey.device, number)
                    new.append(Job(TARGET, folder.path))
        active = [Job(TARGET, folder.path) for folder in self.folders if folder in under_way]
        shards, parts = amount(self.shards, "shard"), sum(map(len, lacking))
        done = len(self.survey.parts) - parts
        log.info(
            "%s: %s, %d of %d parts done before, %d to start",
            self.title, shards, done, len(self.survey.parts), len(new),
        )  # fmt: skip
        submit_jobs(scheduler, new, active)
        return scheduler, [*new, *active]


def write_shard(folder: JobFolder, cfg: PredictConfig, device: str, number: int) -> None:
    """Write the settings that a shard is to have, all of whose paths are absolute.

    Parameters
    ----------
    folder
        The folder of the shard.
    cfg
        The settings of the survey.
    device
        The kind of device that the jobs were planned for.
    number
        The number of the shard.
    """
    frozen = {**asdict(cfg), "device": device}
    for key in ("model_folder", "images", "surveys", "root"):
        if frozen[key] is not None:
            frozen[key] = absolute_path(frozen[key])
    folder.path.mkdir(parents=True, exist_ok=True)
    write_frozen(folder.path / CONFIG, {"number": number, "survey": frozen})


def rate_shard(path: Path) -> None:
    """Rate the parts of a shard that are not there, as a job that may be stopped between two chunks.

    The caller has to hold the lock of the shard.

    Parameters
    ----------
    path
        The folder of the shard, with its frozen settings.

    Raises
    ------
    UserError
        If the settings are damaged, or as `mergerexp.survey.survey.Survey` says.
    """
    set_up_logging()
    folder, started = JobFolder(path), time.time()
    folder.again.unlink(missing_ok=True)
    check_signed(path / CONFIG)
    content = OmegaConf.load(path / CONFIG)
    assert isinstance(content, DictConfig)
    cfg = typed(content.survey, PredictConfig)
    parts = parts_of(cfg.folder)
    own = range(int(content.number), len(parts), min(cfg.shards, len(parts)))
    missing = [part for part in own if not parts.is_done(part)]
    if not missing:  # the list of objects may be gone, since the catalogue is merged
        folder.set_state(DONE, error=None)
        return
    survey = Survey(cfg, is_listed=True)

    def seconds() -> float:
        """Return the seconds of this attempt, whose parts are counted too: both tell the time left."""
        return round(time.time() - started, 3)

    def note(done: int, rate: float) -> None:
        at = {"stage": "part", "epoch": done - 1, "epochs": len(missing), "is_last_stage": True}
        folder.set_state(RUNNING, **at, seconds=seconds(), rate=round(rate, 1))

    folder.set_state(RUNNING, restarts=folder.status().get("restarts", -1) + 1, seconds=0.0, error=None)
    survey.rate(missing, _stop_if_asked, note)
    folder.set_state(DONE, seconds=seconds(), error=None)


def _stop_if_asked() -> None:
    if stop.wants_checkpoint():
        stop.checkpoint_written()
