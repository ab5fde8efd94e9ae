"""The code of a sweep, kept as it was when its jobs were submitted."""

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
STALE_S = 3600.0  # a copy takes a second


def snapshot(folder: Path) -> Path:
    """Copy the package and its configs, so that later edits change no queued run.

    Parameters
    ----------
    folder
        Where the copies are kept, one for each state of the code.

    Returns
    -------
    Path
        The folder to put first on ``PYTHONPATH``. Beside the copy, ``git.json`` names the commit and, for a
        tree with changes of its own, ``git.diff`` holds them; ``seal.json`` lists the hashes of all.

    Raises
    ------
    UserError
        If the copy is there and was changed since it was made.
    """
    ours = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = {f"mergerexp/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in ours}
    configs = sorted(conf_dir().rglob("*.yaml"))
    files |= {f"conf/{path.relative_to(conf_dir()).as_posix()}": path.read_bytes() for path in configs}
    files["git.json"] = json_text(git_state()).encode()  # the same files may be another commit
    if diff := git_diff():
        files["git.diff"] = diff
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    copy = folder / f"code-{sha256_of_json(listed)[:12]}"
    if copy.is_dir():
        check_copy(copy)
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".code-*"):  # of a process that was killed in the midst of it
        if time.time() - stale.stat().st_mtime > STALE_S:
            shutil.rmtree(stale, ignore_errors=True)
    try:
        with written_folder(copy) as partial:
            for name, content in files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(content)
            write_json(partial / SEAL, {FILES: listed})
            for path in (partial, *partial.rglob("*")):  # jobs run it: nobody else may write there
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    except OSError:  # another sweep of the same code was quicker
        if not copy.is_dir():
            raise
        check_copy(copy)
    return copy
