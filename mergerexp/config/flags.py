"""The flags of the verbs, as ``--help`` shows them and messages suggest them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

FLAGS = {  # of the verbs that take settings, with their values
    "-m": "sweep over values that are separated by commas: all combinations are run",
    "--cfg job": "show the config instead of running",
    "--config-dir DIR": "look for groups and options in a folder of yours too, e.g. DIR/experiment/mine.yaml",
    "--config-path DIR, --config-name NAME": "another main folder of configs, or another main file",
    "--version": "show the versions that a bug report needs",
    "--help": "show this, with the keys of the options that are chosen on the line",
}


def unknown_flag(message: str, shown: Iterable[str] = FLAGS) -> str | None:
    """Say which flag is unknown, and which one was meant if one is like it; its value may be secret.

    Parameters
    ----------
    message
        The message of argparse.
    shown
        The flags that the help shows.

    Returns
    -------
    str or None
        The text; None if the message is about something else.
    """
    match = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
    if match is None:
        return None
    names = re.findall(r"(?<!\S)-[\w-]+", " ".join(shown))
    near = difflib.get_close_matches(match[1], names, n=1, cutoff=0.7)
    return f"{match[1]}: no such flag{f'; did you mean {near[0]}?' if near else ''}"
