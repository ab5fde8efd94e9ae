"""``mergerexp VERB …``, which is short for ``python -m mergerexp.VERB …``."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import runpy
import sys
from typing import NoReturn

from mergerexp.errors import UserError, error_text
from mergerexp.software import version_text

VERBS = {
    "prepare": "make a data set on disk",
    "train": "train one run, or with -m all runs of a sweep",
    "status": "show how the runs of a sweep stand, cancel them, or complete their record",
    "robustness": "let a study's networks rate degraded versions of their test images",
    "aggregate": "turn the runs of a study into tables, figures and a report",
    "export": "freeze the fold models of a study in a folder that timm loads",
    "predict": "rate the objects of a survey with an exported model",
    "sample": "make colour-mass diagram and mass functions of a survey's mergers",
}
COMPLETION = ("-sc", "--shell-completion")
USAGE = """\
Train a study of rare astronomical objects, and turn it into tables, figures and a report.

  mergerexp VERB [FLAG | KEY=VALUE ...]

{verbs}

  mergerexp VERB --help     show what can be set
  mergerexp --version       show the versions that a bug report needs
  eval "$(mergerexp --shell-completion install=bash)"     complete words with TAB, also in zsh; for fish:
  mergerexp --shell-completion install=fish | source

python -m mergerexp.VERB does the same as mergerexp VERB."""


def main() -> None:
    """Run the verb that the command line names, or say which there are."""
    first, *rest = sys.argv[1:] or ["--help"]
    if first in VERBS:
        sys.argv[1:] = rest
        runpy.run_module(f"mergerexp.{first}", run_name="__main__", alter_sys=True)
    elif first in ("-h", "--help"):
        print(USAGE.format(verbs="\n".join(f"  {verb:<12}{about}" for verb, about in VERBS.items())))
    elif first == "--version":
        print(version_text())
    elif first in COMPLETION:
        _complete(rest)
    else:
        near = difflib.get_close_matches(first, [*VERBS, "--help", "--version"], n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(VERBS)}"
        _refuse(f"{first}: no such verb; {hint}")


def _complete(what: list[str]) -> None:
    """Write the shell's script for completion, or the words that may stand where it asks.

    Hydra knows what can follow a verb; its script for the shell asks us with the line in ``COMP_LINE``.
    """
    line = os.environ.get("COMP_LINE", "")
    program, verb, rest = [*line.split(maxsplit=2), "", "", ""][:3]
    if not what or not re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", what[0]):
        _refuse("--shell-completion: add install=bash, install=zsh or install=fish")
    if not what[0].startswith("query="):
        verb = "train"  # any that goes through Hydra
    elif not rest and not (verb and line.endswith(" ")):
        print("\n".join(VERBS))
        return
    else:
        os.environ["COMP_LINE"] = f"{program} {rest}"
    if verb == "status":
        from mergerexp.status import make_parser

        print("\n".join(re.findall(r"--[a-z]+", make_parser().format_usage())))
    elif verb in VERBS:
        sys.argv = ["mergerexp", COMPLETION[1], *what]
        importlib.import_module(f"mergerexp.{verb}").main()


def _refuse(message: str) -> NoReturn:
    print(error_text(UserError(message)), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
