"""Hydra's door to `mergerexp.sweep`: ``hydra/launcher=local`` and ``hydra/launcher=slurm``.

Hydra instantiates launchers from the ``hydra_plugins`` namespace package only, and imports what is in it
at every start: what is heavy is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mergerexp.config.paths import conf_dir


class _OurLauncher(Launcher):
    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return their results."""
        from mergerexp.config.launcher import read_options
        from mergerexp.sweep import hydra_task
        from mergerexp.sweep.schedulers import make_scheduler

        assert self.config is not None
        assert self.task_function is not None
        assert self.hydra_context is not None
        target = f"{type(self).__module__}.{type(self).__name__}"
        options = read_options(OmegaConf.create({"_target_": target, **self.options}))
        if own := getattr(self.task_function, "launch", None):
            return own(options, job_overrides)  # type: ignore[no-any-return]
        folder = Path(str(self.config.hydra.sweep.dir)) / ".jobs"
        folder.mkdir(parents=True, exist_ok=True)
        scheduler = make_scheduler(options, folder.absolute(), code=None)
        return hydra_task.launch(
            scheduler,
            folder,
            self.hydra_context,
            self.config,
            self.task_function,
            job_overrides,
            initial_job_idx,
        )


class LocalLauncher(_OurLauncher):
    """``hydra/launcher=local``."""


class SlurmLauncher(_OurLauncher):
    """``hydra/launcher=slurm``."""


class CheckedSweeper(BasicSweeper):
    """Hydra's basic sweeper without its own check of every config: ours has composed all of them before."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it at that."""


class MergerexpSearchPath(SearchPathPlugin):
    """Lets other applications find the launchers' options; ours have them in their own conf/."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Look here last."""
        search_path.append("mergerexp", f"file://{conf_dir()}")
