"""The command line that all verbs share: Hydra, with every config checked before anything starts."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig

from mergerexp.config.compose import Schema, compose_all
from mergerexp.config.launcher import Options
from mergerexp.config.paths import conf_dir
from mergerexp.console import console, set_up_logging
from mergerexp.cores import wait_without_spinning
from mergerexp.errors import explain


class Verb(Protocol[Schema]):
    """What a verb does with its configs."""

    def preflight(self, cells: list[tuple[list[str], Schema]], options: Options | None) -> None:
        """Take overrides and configs of all cells, and the launcher's options, before anything starts."""

    def run(self, overrides: list[str]) -> Any:
        """Do one cell in this process."""

    def launch(self, options: Options, job_overrides: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        """Do many cells with a launcher of ours."""

    def finish(self) -> int:
        """Say what came out, and return the exit code."""


def run_app(config_name: str, schema: type[Schema], verb: Verb[Schema]) -> None:
    """Run a verb and exit.

    Parameters
    ----------
    config_name
        YAML file in ``conf/``.
    schema
        Its root dataclass.
    verb
        What to do.
    """
    set_up_logging()
    wait_without_spinning()
    # What conf/train.yaml's defaults are on this machine.
    os.environ.setdefault("MERGEREXP_LAUNCHER", "slurm" if _has_slurm() else "local")
    has_server = os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http")
    os.environ.setdefault("MERGEREXP_TRACKING", "server" if has_server else "sqlite")
    args = get_args_parser().parse_args()
    if not _only_shows(args):
        extra = [f"hydra.searchpath=[file://{Path(args.config_dir).absolute()}]"] if args.config_dir else []
        with _told_plainly():
            name = args.config_name or config_name
            verb.preflight(*compose_all(name, args.overrides + extra, args.multirun, schema))

    def task(cfg: DictConfig) -> Any:
        return verb.run(list(HydraConfig.get().overrides.task))

    def launch(options: Options, job_overrides: Sequence[Sequence[str]]) -> Sequence[JobReturn]:
        with _told_plainly():
            return verb.launch(options, job_overrides)
        raise AssertionError  # the mistake was told, and the process ended

    task.launch = launch  # type: ignore[attr-defined]  # our launchers ask for it
    with _told_plainly(), tempfile.TemporaryDirectory() as scratch:
        # Hydra leaves a multirun.yaml wherever a sweep has run, which a second user could not write again.
        os.environ["MERGEREXP_SCRATCH"] = scratch
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()
    if not _only_shows(args):
        with _told_plainly():
            sys.exit(verb.finish())


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """End the process with one line for a mistake of the user's, and after Ctrl-C."""
    try:
        yield
    except (ValueError, OSError, HydraException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        for message in explain(error).splitlines():
            print(f"error: {message}", file=sys.stderr)
        if type(error) is ValueError:  # perhaps a mistake of ours
            print("HYDRA_FULL_ERROR=1 shows where it came from", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        what = str(interrupt) or "Interrupted: the same command goes on where this one stopped."
        console.print(what, style="yellow", soft_wrap=True)
        sys.exit(130)


def _has_slurm() -> bool:
    """Tell whether this machine belongs to a Slurm cluster: it has the commands, and knows the controller."""
    known = os.environ.keys() & {"SLURM_CONF", "SLURM_CONF_SERVER"}
    cached = any(Path(path).exists() for path in ("/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf"))
    return shutil.which("sbatch") is not None and (bool(known) or cached)


def _only_shows(args: argparse.Namespace) -> bool:
    shows = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion)
    return any(flag is not None and flag is not False for flag in shows)
