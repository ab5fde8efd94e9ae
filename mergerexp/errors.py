"""Mistakes that the user can mend; their message is shown as it is, without a traceback."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_plus

Item = TypeVar("Item")
Result = TypeVar("Result")

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)

# user:password@ of an address. SQLAlchemy takes all up to an @ for a password, whatever it holds; elsewhere
# the host ends at the first /, and what follows a colon there may be a port. A password with a / in it is
# none there, but whoever wrote it took it for one.
_SQL = r"(?:postgres\w*|mysql|mariadb|mssql|oracle|\w+\+\w+)://"
_AFTER_HOST = r"[^/\s:@\[]*:(?![0-9]{0,5}(?:[/?#\s]|$))\S*@"
_LOGINS = (
    re.compile(rf"(?P<before>{_SQL})(?:[^/\s:]*:\S*|[^/\s@]*)@", re.IGNORECASE),
    re.compile(rf"(?P<before>://)(?:[^/?#\s]*@|{_AFTER_HOST})"),
)
# Over HTTP, the user alone may be a token.
_PASSWORD = re.compile(
    rf"{_SQL}[^/\s:]*:\S*@|://[^/?#\s]*:[^/?#\s]*@|://{_AFTER_HOST}|https?://[^/?#\s]*@", re.IGNORECASE
)
# ?password=..., ;PWD={...} of an ODBC string, also percent-encoded as the value of another argument
_SECRET = re.compile(
    r"""(?P<name>(?:^|[?&;#,\s{'"]|%3b|%26|%3f|%23)
    (?:(?:[\w.-]*[_.-])?(?:pass|pwd|pw|sig|auth|key|jwt|bearer)
     |[\w.-]*(?:password|passwd|passphrase|secret|token|credentials?|signature
      |(?:api|access|account|private|session)[_-]?key(?:[_-]?id)?))
    (?:=|%3d))
    (?:\{[^}]*\}|%7b.*?%7d|(?:(?!%3b|%26)[^&;#\s'"])+)""",
    re.IGNORECASE | re.VERBOSE,
)


class UserError(ValueError):
    """Base of them."""


class ConfigError(UserError):
    """A config that can't be run; the message has one line a mistake, each naming its key."""


class DataError(UserError):
    """Input data or a data set that can't be used; the message says which and what to do."""


class WeightsError(UserError):
    """Pretrained weights that can't be had; the message says how to get them."""


class StoreError(UserError):
    """An MLflow store that can't be used until somebody mends it; the message says which and what to do."""


def require_torch(purpose: str) -> None:
    """Refuse what needs torch where only the base installation is there.

    Raises
    ------
    UserError
        Saying how to install it.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{purpose} needs torch: pip install 'mergerexp[train]' (here: pip install -e '.[train]')"
        )


def describe(error: BaseException) -> str:
    """Return an error's type and message in one line, for a status file or a table."""
    if isinstance(error, OSError) and error.filename and error.errno in (*NO_ROOM, *NO_RIGHT):
        return explain(error)
    message = without_credentials(" ".join(str(error).split()))
    return f"{type(error).__name__}: {message}"[:2000] if message else type(error).__name__


def explain(error: BaseException) -> str:
    """Return an error's message; where the system refuses a file, say what to do about it, in one line."""
    if not isinstance(error, OSError) or not error.filename:
        return str(error)
    path = Path(os.fsdecode(error.filename))
    if error.errno in NO_ROOM:
        return (
            f"{path} can't be written ({error.strerror}): make room there, or let MERGEREXP_ROOT name a "
            "folder on another disk, and give the same command again; what was whole before is as it was"
        )
    if error.errno in NO_RIGHT:
        return f"{path} can't be opened or written ({error.strerror}){_whose(path)}"
    return str(error)


def _whose(path: Path) -> str:
    """Tell whom a file or the nearest folder above it belongs to, and what lets two users share a root."""
    import pwd

    there = next((own for own in (path, *path.absolute().parents) if _exists(own)), None)
    if there is None:
        return ""
    about = there.stat()

    def name(uid: int) -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"

    if about.st_uid == os.getuid():
        return (
            f": {there} is yours, its mode is {about.st_mode & 0o7777:o}; MERGEREXP_ROOT says where to write"
        )
    mode, owner, you = f"{about.st_mode & 0o7777:o}", name(about.st_uid), name(os.getuid())
    return (
        f": {there} belongs to {owner}, its mode is {mode}, and you are {you}. To share it, let {owner} "
        "give your group the right to write (chmod -R g+rwX on it) and both of you work with umask 002; "
        "or let MERGEREXP_ROOT name a folder of yours"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def without_credentials(text: str) -> str:
    """Return a text whose addresses name no user, password, token or key."""
    for login in _LOGINS:
        text = login.sub(r"\g<before>", text)
    return _SECRET.sub(r"\g<name>***", text)


def has_secret(address: str) -> bool:
    """Tell whether an address names a password, token or key, in whatever place; a user alone is none."""
    readings = (address, once := unquote_plus(address), unquote_plus(once))
    return any(_PASSWORD.search(reading) or _SECRET.search(reading) for reading in readings)


def try_all(
    do: Callable[[Item], Result], items: Iterable[Item], label: Callable[[Item], str] | None = None
) -> list[Result]:
    """Call a function with each item, and refuse all together if it refuses one.

    Parameters
    ----------
    do
        The function.
    items
        What to call it with.
    label
        What tells an item apart, put before its mistake.

    Raises
    ------
    ConfigError
        With a line for each item that was refused; one line if all of them were for the same reason.
    """
    results: list[Result] = []
    mistakes: list[tuple[str, str]] = []
    for item in items:
        try:
            results.append(do(item))
        except ValueError as mistake:
            mistakes.append((label(item) if label else "", str(mistake)))
    if not mistakes:
        return results
    reasons = dict.fromkeys(reason for _, reason in mistakes)
    if label is None or (len(reasons) == 1 and not results):
        raise ConfigError("\n".join(reasons))
    raise ConfigError("\n".join(f"{name}: {reason}" if name else reason for name, reason in mistakes))
