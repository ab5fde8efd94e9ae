"""``python -m mergerexp.status``: show the states of the runs of a sweep."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from mergerexp.config.flags import unknown_flag
from mergerexp.config.paths import ROOT_VARIABLE, check_folder, name_of_root
from mergerexp.console import set_up_logging
from mergerexp.errors import UserError, error_text
from mergerexp.garbage import collect_rarely
from mergerexp.runs.sweep_folder import choose_sweep
from mergerexp.software import version_text
from mergerexp.study.synchronize import sync
from mergerexp.sweep.show import cancel, list_sweeps, show

ABOUT = "Show what every run of a sweep is doing. The exit code is 1 if a run has failed."
EXAMPLES = """\
examples:
  python -m mergerexp.status                 the most recent sweep
  python -m mergerexp.status --list          all sweeps, with their ids
  python -m mergerexp.status 3f2a --watch    the sweep whose id begins with 3f2a, until it is over
  python -m mergerexp.status --cancel        stop what is under way; the command that began it goes on
  MLFLOW_TRACKING_URI=http://host:5000 python -m mergerexp.status --sync"""
TOGETHER = ({"list", "json"}, {"cancel", "watch"}, {"cancel", "json"})  # the flags that can be combined


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise a mistake as our other errors."""
        said = unknown_flag(message, self._option_string_actions)
        raise UserError(f"{said or message} (--help lists the flags)")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="python -m mergerexp.status",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sweep",
        nargs="?",
        help="beginning of the id of the sweep; default: the most recent sweep, or with --sync all runs",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get(ROOT_VARIABLE, ".")),
        help="the folder with the runs and sweeps; default: $MERGEREXP_ROOT, or the working directory",
    )
    parser.add_argument("--list", action="store_true", help="list all sweeps, the most recent first")
    parser.add_argument("--watch", action="store_true", help="update the table until all runs are over")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs, on standard output")
    parser.add_argument(
        "--sync",
        action="store_true",
        help="ask the MLflow store of each run, or $MLFLOW_TRACKING_URI, what it has, and send the rest",
    )
    parser.add_argument("--cancel", action="store_true", help="cancel or stop the runs that are not over")
    parser.add_argument(
        "--version",
        action="version",
        version=version_text(),
        help="show the versions that a bug report needs",
    )
    return parser


def parse() -> argparse.Namespace:
    """Return the arguments of the command line.

    Raises
    ------
    UserError
        If a flag is unknown, or flags contradict each other.
    """
    args = make_parser().parse_args()
    given = [name for name in ("sync", "list", "cancel", "watch", "json") if getattr(args, name)]
    if args.list and args.sweep:
        raise UserError(f"--list lists all sweeps: leave {args.sweep} out, or leave --list out to look at it")
    if len(given) > 1 and set(given) not in TOGETHER:
        raise UserError(f"{' and '.join(f'--{name}' for name in given)} can't be combined")
    return args


def main() -> int:
    """Run the verb as the command line says; the exit code is 2 for a mistake of the user."""
    collect_rarely()
    set_up_logging()
    try:
        args = parse()
        check_folder(name_of_root(str(args.root), "--root"), str(args.root))
        if args.sync:
            return sync(args.root, args.sweep)
        if args.list:
            list_sweeps(args.root / "sweeps", args.json)
            return 0
        sweep = choose_sweep(args.root / "sweeps", args.sweep)
        if args.cancel:
            cancel(sweep, quiet=args.json)
        return show(sweep, args.watch, args.json)
    except (UserError, OSError) as error:
        print(error_text(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: jobs that are under way go on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
