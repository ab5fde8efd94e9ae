"""The code of a sweep, kept as it was when its jobs were submitted."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from pathlib import Path

from mergerexp.config.paths import conf_dir
from mergerexp.files import write_json
from mergerexp.tracking.provenance import git_diff, git_state

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
        tree with changes of its own, ``git.diff`` holds them.
    """
    ours = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = {Path("mergerexp") / path.relative_to(PACKAGE): path for path in ours}
    configs = sorted(conf_dir().rglob("*.yaml"))
    files |= {Path("conf") / path.relative_to(conf_dir()): path for path in configs}
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(str(name).encode() + b"\0" + path.read_bytes())
    state, diff = git_state(), git_diff()
    digest.update(repr(sorted(state.items())).encode() + diff)  # the same files may be another commit
    copy = folder / f"code-{digest.hexdigest()[:12]}"
    if copy.is_dir():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".code-*"):  # of a process that was killed in the midst of it
        if time.time() - stale.stat().st_mtime > STALE_S:
            shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=".code-"))
    for name, path in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, partial / name)
    write_json(partial / "git.json", state)
    if diff:
        (partial / "git.diff").write_bytes(diff)
    partial.chmod(0o755)
    try:
        partial.rename(copy)
    except OSError:  # another sweep of the same code was quicker
        shutil.rmtree(partial)
        if not copy.is_dir():
            raise
    return copy
