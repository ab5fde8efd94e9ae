"""A copy of the code of a sweep, as it was when the jobs were submitted."""

from __future__ import annotations

import hashlib
import shutil
import stat
import time
from pathlib import Path

from mergerexp.config.paths import conf_dir
from mergerexp.files import json_text, write_json, written_folder
from mergerexp.runs.provenance import check_copy, git_diff, git_state
from mergerexp.seals import FILES, SEAL, sha256_of_json

PACKAGE = Path(__file__).resolve().parents[1]
STALE_S = 3600.0  # copying takes about a second, so an unfinished copy of this age was abandoned


def snapshot(folder: Path) -> Path:
    """Copy the package and its configs, so that later edits change no queued run.

    Parameters
    ----------
    folder
        The folder for the copies. It has one for each state of the code.

    Returns
    -------
    Path
        The folder that is to come first on ``PYTHONPATH``. In it, ``git.json`` names the commit, ``git.diff``
        has the changes that were not committed, if there are any, and ``seal.json`` lists the hashes of all
        files.

    Raises
    ------
    UserError
        If there is a copy of this state already, and somebody has changed it.
    """
    modules = sorted(
        path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    files = {f"mergerexp/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in modules}
    configs = sorted(conf_dir().rglob("*.yaml"))
    files |= {f"conf/{path.relative_to(conf_dir()).as_posix()}": path.read_bytes() for path in configs}
    files["git.json"] = json_text(git_state()).encode()  # another commit may have the same files
    if diff := git_diff():
        files["git.diff"] = diff
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    copy = folder / f"code-{sha256_of_json(listed)[:12]}"
    if copy.is_dir():
        check_copy(copy)
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".code-*"):  # left by processes that were killed while they copied
        if time.time() - stale.stat().st_mtime > STALE_S:
            shutil.rmtree(stale, ignore_errors=True)
    try:
        with written_folder(copy) as partial:
            for name, content in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(content)
            write_json(partial / SEAL, {FILES: listed})
            for path in (partial, *partial.rglob("*")):  # jobs run this code, so nobody else may change it
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    except OSError:  # another sweep may have made the same copy meanwhile
        if not copy.is_dir():
            raise
        check_copy(copy)
    return copy
