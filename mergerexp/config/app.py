"""The way in that all verbs share: Hydra composes, all configs are checked, then the verb is called once.

A single run: Hydra's entry composes the config and calls the `Application`, which keeps it until Hydra is
done. A sweep: Hydra's sweeper makes the cells and hands them to our launcher, which hands them to
`Application.sweep`. Either way the verb gets all cells at once, validated, before anything has started.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeAlias

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.call import Call, Cell, Done, cell_labels, without_effect
from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.config_files import naming_files
from mergerexp.config.hydra_adapter import (
    read_command_line,
    run_hydra,
)
from mergerexp.config.hydra_errors import FULL_ERROR
from mergerexp.config.launcher import Options, read_options
from mergerexp.config.paths import set_machine_defaults
from mergerexp.config.typed import Schema
from mergerexp.config.validate import validate
from mergerexp.console import console, set_up_logging
from mergerexp.cores import wait_without_spinning
from mergerexp.environment import environment
from mergerexp.errors import ConfigError, error_text, try_all, visible_lines
from mergerexp.garbage import collect_rarely

log = logging.getLogger(__name__)
# The sweepers that look at no results: Hydra's own, and ours.
SWEEPERS = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.mergerexp_launcher.CheckedSweeper",
)
LAUNCHER = re.compile(r"[+~]*hydra[./]launcher\b")

Verb: TypeAlias = Callable[[Call[Schema]], Done]


class Application(Generic[Schema]):
    """The object that Hydra calls with composed configs, and that calls the verb with all of them.

    Parameters
    ----------
    verb
        The function that does the work. It is called once, or once for each batch of a sweeper that looks at
        results, such as Optuna's.
    schema
        The root dataclass of the verb's config.
    args
        The parsed command line.
    starts_jobs
        Whether the verb uses a launcher; otherwise it does all cells in this process.
    """

    def __init__(
        self, verb: Verb[Schema], schema: type[Schema], args: argparse.Namespace, starts_jobs: bool = False
    ) -> None:
        # Hydra adds overrides of its own to the list that it is given.
        self.args = argparse.Namespace(**{**vars(args), "overrides": list(args.overrides)})
        self.starts_jobs = starts_jobs
        self.verb: Verb[Schema] = verb
        self.schema: type[Schema] = schema
        self.exit_code, self.has_begun = 0, False
        self._kept: list[tuple[list[str], DictConfig]] = []
        self._full_error = os.environ.get(FULL_ERROR)
        self._launchers: list[str] = []  # overrides of a single run that name a launcher

    def __call__(self, cfg: DictConfig) -> Any:
        """Keep a composed config; `run_kept` does the work, once Hydra is done.

        For a sweeper that looks at results, such as Optuna's, the work is done now, and its value returned.
        """
        hydra = HydraConfig.get()
        overrides = _as_given(hydra.overrides.task)
        if hydra.mode == RunMode.MULTIRUN and hydra.sweeper._target_ not in SWEEPERS:
            self.has_begun = True
            values = self._run([overrides], lambda _: cfg, None)
            return values[0] if values else None
        if hydra.mode == RunMode.RUN:
            self._launchers = [one for one in _as_given(hydra.overrides.hydra) if LAUNCHER.match(one)]
        self._kept.append((overrides, cfg))
        return None

    def run_kept(self) -> None:
        """Call the verb with the configs that were composed for this process.

        Raises
        ------
        ConfigError
            If cells are wrong, with a line for each; or if a launcher is named for a single run.
        """
        if self._launchers:
            raise ConfigError(f"{self._launchers[0]}: a launcher starts the runs of a sweep; add -m")
        if self._kept:
            configs = {tuple(overrides): cfg for overrides, cfg in self._kept}
            self._run([overrides for overrides, _ in self._kept], lambda cell: configs[tuple(cell)], None)

    def sweep(
        self,
        loader: ConfigLoader,
        cfg: DictConfig,
        job_overrides: Sequence[Sequence[str]],
        launcher: str,
        settings: Mapping[str, Any],
    ) -> list[JobReturn]:
        """Call the verb with the cells of a sweep, for one of our launchers.

        Parameters
        ----------
        loader, cfg
            The config loader of Hydra, and the sweep's config with Hydra's own node.
        job_overrides
            The overrides of each cell.
        launcher, settings
            The name of the launcher's class, and its options.

        Returns
        -------
        list of JobReturn
            The value of each cell, for a sweeper that optimises it.

        Raises
        ------
        ConfigError
            If cells or the options are wrong, with a line for each mistake.
        """
        self.has_begun, hydra = True, cfg.hydra
        if not self.starts_jobs:
            raise ConfigError("hydra/launcher: this verb starts no jobs; leave it out")
        with naming_files(cfg, (), self.args, self.schema):
            options = read_options(launcher, settings)
        composer = CellComposer(hydra.job.config_name, self.schema, loader, _as_given(hydra.overrides.hydra))
        with environment({FULL_ERROR: self._full_error}):
            values = self._run([list(overrides) for overrides in job_overrides], composer.compose, options)
        returns = []
        for overrides, value in zip(job_overrides, values or [None] * len(job_overrides), strict=True):
            returns.append(JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED))
            returns[-1].return_value = value
        return returns

    def _run(
        self,
        cells: Sequence[list[str]],
        compose: Callable[[list[str]], DictConfig],
        options: Options | None,
    ) -> Sequence[Any]:
        """Compose and validate all cells, then call the verb; return its values."""
        if not cells:
            raise ConfigError("the sweep has no cell: one of its overrides gives no value")

        def checked(item: tuple[str, list[str]]) -> Cell[Schema]:
            composed = compose(item[1])
            with naming_files(composed, item[1], self.args, self.schema):
                return Cell(tuple(item[1]), validate(composed, self.schema), item[0])

        labelled = zip(cell_labels(cells), cells, strict=True)
        call = Call(try_all(checked, labelled, lambda item: item[0]), options)
        for override in without_effect(call.cells):
            log.warning("%s: model=nonparametric makes no use of it", override)
        done = self.verb(call)
        self.exit_code = max(self.exit_code, done.exit_code)
        return done.values


def _as_given(overrides: Any) -> list[str]:
    """Return the overrides of a list of OmegaConf's with their interpolations."""
    container: Any = OmegaConf.to_container(overrides, resolve=False)
    return list(container)


def run_app(name: str, schema: type[Schema], verb: Verb[Schema], starts_jobs: bool = False) -> None:
    """Run a verb as this process's command line asks for, and exit.

    Parameters
    ----------
    name
        The name of the verb and of its YAML file in ``conf/``.
    schema
        The root dataclass of its config.
    verb
        The function that does the work.
    starts_jobs
        Whether it uses a launcher.
    """
    collect_rarely()
    set_up_logging()
    wait_without_spinning()
    set_machine_defaults()
    with one_line_errors(), tempfile.TemporaryDirectory() as scratch:
        # Hydra leaves a multirun.yaml wherever a sweep has run, which a second user could not write again.
        os.environ["MERGEREXP_SCRATCH"] = scratch
        args = read_command_line(sys.argv[1:], f"python -m mergerexp.{name}")
        if args.help:
            from mergerexp.config.help import help_text

            print(visible_lines(help_text(args, name, schema)))
            sys.exit(0)
        app = Application(verb, schema, args, starts_jobs)
        run_hydra(args, app, name, schema)
        app.run_kept()
        sys.exit(app.exit_code)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for each mistake of the user's, and after Ctrl-C."""
    try:
        yield
    except (ValueError, OSError, HydraException, OmegaConfBaseException) as error:
        if os.environ.get(FULL_ERROR) == "1":
            raise
        print(error_text(error), file=sys.stderr)
        if type(error) is ValueError:  # perhaps a mistake of ours
            print(f"{FULL_ERROR}=1 shows where it came from", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "Interrupted: the same command goes on where this one stopped."
        console.print(message, style="yellow", soft_wrap=True)
        sys.exit(130)
