"""Where a run came from: code, data, machine, versions."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mergerexp.errors import UserError, without_credentials
from mergerexp.files import read_json
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
    """Return commit and dirty flag of the checkout that the code runs from; None where there is none.

    A sweep's copy of the code knows what it was copied from.

    Raises
    ------
    UserError
        If that copy was changed since.
    """
    if COPY.fullmatch(ROOT.name) or (ROOT / SEAL).is_file():  # whatever of it was removed
        check_copy(ROOT)
        return dict(read_json(ROOT / "git.json"))
    commit = (_git("rev-parse", "HEAD") or b"").decode().strip()
    if not commit or not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def check_copy(copy: Path) -> None:
    """Compare a sweep's copy of the code with the hashes that it was made with, of which its name is one.

    Raises
    ------
    UserError
        Naming a file that was changed, is missing or was added.
    """
    try:
        listed = read_json(copy / SEAL)[FILES]
        if not copy.name.endswith(sha256_of_json(listed)[:12]):
            raise UserError(f"{copy / SEAL} is not that of {copy.name}")
        check_listed(copy, listed)
        for path in sorted(copy.rglob("*")):
            known = path.relative_to(copy).as_posix() in {*listed, SEAL}  # compiled code is not: it would run
            if not known and (path.is_symlink() or not path.is_dir()):
                raise UserError(f"{path} was added since")
    except (UserError, FileNotFoundError) as error:
        raise UserError(
            f"{error}. The code that a sweep recorded must stay as it was: remove {copy}, and the same "
            "command makes it anew"
        ) from error


def git_diff() -> bytes:
    """Return how the checkout differs from its commit, new code and configs included, if it does."""
    if (ROOT / "git.diff").is_file():
        return (ROOT / "git.diff").read_bytes()
    if not (ROOT / ".git").exists():
        return b""
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "mergerexp", "conf") or b""
    paths = [path.decode() for path in new.split(b"\0") if path]
    added = [_git("diff", "--no-index", "--binary", "--", os.devnull, path, code=1) or b"" for path in paths]
    return b"".join([_git("diff", "HEAD", "--binary") or b"", *added])


def software() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    return versions_of(PACKAGES)


def command_line() -> str:
    """Return the command that started this process, without secrets: it is stored."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec is not None else [Path(sys.argv[0]).name]
    return without_credentials(shlex.join([*program, *sys.argv[1:]]))


def _git(*arguments: str, code: int = 0) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == code else None
