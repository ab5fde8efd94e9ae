"""The provenance of a run: the state of the code, the versions of packages and the command line."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mergerexp.errors import UserError, explain, without_credentials
from mergerexp.files import files_below, read_json
from mergerexp.runs.job_folder import warn_once
from mergerexp.seals import FILES, SEAL, check_listed, sha256_of_json
from mergerexp.software import versions_of

PACKAGES = (
    "mergerexp",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "numpy",
    "hydra-core",
    "mlflow",
    "scipy",
    "scikit-learn",
    "statmorph",
)


ROOT = Path(__file__).resolve().parents[2]
COPY = re.compile(r"code-[0-9a-f]{12}")  # what `mergerexp.sweep.snapshot` calls its copies


def git_state() -> dict[str, Any]:
    """Return the commit of the checkout that the code runs from, and whether it has uncommitted changes.

    If the code is the copy of a sweep, these are the commit and the changes that it was copied from.

    Returns
    -------
    dict
        The keys are ``commit`` and ``dirty``; both values are None if there is no checkout. If there is one
        and git says nothing of it, the reason is added as ``withheld``, and a warning is logged.

    Raises
    ------
    UserError
        If the code is the copy of a sweep, and somebody has changed it.
    """
    if COPY.fullmatch(ROOT.name) or (ROOT / SEAL).is_file():  # one of the two, if the other was removed
        check_copy(ROOT)
        return dict(read_json(ROOT / "git.json"))
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}
    if commit := (_git("rev-parse", "HEAD") or b"").decode().strip():
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return {"commit": commit, "dirty": bool(changed or _new_code())}
    why = _reason_of_git()
    warn_once("the commit of the code is not recorded: %s", why)
    return {"commit": None, "dirty": None, "withheld": why}


def check_copy(copy: Path) -> None:
    """Check that a sweep's copy of the code is as it was made, by the hashes in its seal and in its name.

    Parameters
    ----------
    copy
        The folder of the copy.

    Raises
    ------
    UserError
        If a file was changed, is missing or was added; the message names it.
    """
    try:
        listed = read_json(copy / SEAL)[FILES]
        if not copy.name.endswith(sha256_of_json(listed)[:12]):
            raise UserError(f"{copy / SEAL} does not belong to {copy.name}")
        check_listed(copy, listed)
        # Compiled modules are not listed either, since Python might run them instead of the sources.
        if added := sorted(set(files_below(copy)) - {*listed, SEAL}):
            raise UserError(f"{copy / added[0]} was added after the copy was made")
    except (UserError, FileNotFoundError) as error:
        raise UserError(
            f"{explain(error)}. The code that a sweep recorded must not be changed: remove {copy}, and the "
            "same command copies the code anew"
        ) from error


def git_diff() -> bytes:
    """Return the difference of the checkout from its commit as a patch, which includes new code and configs.

    The patch is empty if there is no difference or no checkout.
    """
    if (ROOT / "git.diff").is_file():
        return (ROOT / "git.diff").read_bytes()
    if not (ROOT / ".git").exists():
        return b""
    added = [
        _git("diff", "--no-index", "--binary", "--", os.devnull, path, code=1) or b"" for path in _new_code()
    ]
    return b"".join([_git("diff", "HEAD", "--binary") or b"", *added])


def _new_code() -> list[str]:
    """Return the code and configs that git does not know; other new files, such as images, change no run."""
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "mergerexp", "conf") or b""
    return [path.decode() for path in new.split(b"\0") if path]


def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    return versions_of(PACKAGES)


def command_line() -> str:
    """Return the command that started this process, without the secrets in it, so that it can be stored."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec is not None else [Path(sys.argv[0]).name]
    return without_credentials(shlex.join([*program, *sys.argv[1:]]))


def _git(*arguments: str, code: int = 0) -> bytes | None:
    try:
        done = _run_git(*arguments)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == code else None


def _reason_of_git() -> str:
    """Return why git names no commit of the checkout, and what to do about it."""
    try:
        said = _run_git("rev-parse", "HEAD").stderr.decode(errors="replace").strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"git can't be run ({explain(error)})"
    if "safe.directory" in said:  # in every language that git speaks
        remedy = shlex.join(["git", "config", "--global", "--add", "safe.directory", str(ROOT)])
        return f"{ROOT} belongs to another user, of whose checkouts git says nothing: {remedy}"
    return said.partition("\n")[0] or "git does not say why"


def _run_git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=20)
