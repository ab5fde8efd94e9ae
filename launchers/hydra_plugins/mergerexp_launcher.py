"""The Hydra plugin for `mergerexp.sweep`: ``hydra/launcher=local`` and ``hydra/launcher=slurm``.

Hydra instantiates launchers from the ``hydra_plugins`` namespace package only. It imports the modules in
there whenever any Hydra application starts, so imports that take long are inside the functions that need
them. Other applications find the launchers as ``mergerexp_local`` and ``mergerexp_slurm``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mergerexp.config.paths import conf_dir

GROUP = "hydra/launcher"
for _path in sorted((conf_dir() / GROUP).glob("*.yaml")):
    ConfigStore.instance().store(f"mergerexp_{_path.stem}", OmegaConf.load(_path), GROUP)


class _OurLauncher(Launcher):
    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what Hydra passes to a launcher."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs.

        Parameters
        ----------
        job_overrides
            The overrides of each job.
        initial_job_idx
            The number of the first job.

        Returns
        -------
        sequence of JobReturn
            The result of each job.
        """
        from mergerexp.config.app import Application
        from mergerexp.config.launcher import read_options

        task, name = self.task_function, type(self).__name__
        if isinstance(task, Application):
            loader = self.hydra_context.config_loader
            return task.sweep(loader, self.config, job_overrides, name, self.options)
        from mergerexp.sweep.hydra_task import launch  # for the applications of others alone

        folder = Path(str(self.config.hydra.sweep.dir)) / ".jobs"
        options = read_options(name, self.options)
        return launch(options, folder, self.hydra_context, self.config, task, job_overrides, initial_job_idx)


class LocalLauncher(_OurLauncher):
    """The launcher ``hydra/launcher=local``, which runs jobs on this machine."""


class SlurmLauncher(_OurLauncher):
    """The launcher ``hydra/launcher=slurm``, which submits jobs to a Slurm cluster."""


class CheckedSweeper(BasicSweeper):
    """Hydra's basic sweeper, except that it leaves composing and checking the cells to the launcher."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Accept every batch, since our launchers compose all cells of a batch before they start any."""
