"""A copy of the code of a sweep, as it was when the jobs were submitted."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from mergerexp.config.paths import conf_dir
from mergerexp.files import files_below, json_text, write_json, written_folder
from mergerexp.runs.provenance import check_copy, git_diff, git_state
from mergerexp.seals import AT_ONCE, FILES, SEAL, sha256_of_json

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
    modules = [path for path in files_below(PACKAGE) if "__pycache__" not in path.split("/")]
    configs = [path for path in files_below(conf_dir()) if path.endswith(".yaml")]
    sources = {f"mergerexp/{path}": PACKAGE / path for path in sorted(modules)}
    sources |= {f"conf/{path}": conf_dir() / path for path in sorted(configs)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        contents = dict(zip(sources, pool.map(_content, sources.values()), strict=True))
    files = {name: content for name, content in contents.items() if content is not None}
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
            _write(partial, files)
            write_json(partial / SEAL, {FILES: listed})
            for path in (partial, partial / SEAL):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
    except OSError:  # another sweep may have made the same copy meanwhile
        if not copy.is_dir():
            raise
        check_copy(copy)
    return copy


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None for something else, such as the link by which an editor locks one."""
    return path.read_bytes() if path.is_file() else None


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that nobody else may change, whatever the umask is, since jobs run this code."""
    parents = {parent for name in files for parent in PurePosixPath(name).parents} - {PurePosixPath(".")}
    for parent in sorted(parents):
        (folder / parent).mkdir(mode=0o755)

    def write(name: str) -> None:
        with open(folder / name, "xb", opener=lambda path, flags: os.open(path, flags, 0o644)) as file:
            file.write(files[name])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(write, files))
