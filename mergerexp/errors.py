"""Errors that the user can mend, whose messages are shown as they are, without a traceback."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_plus

Item = TypeVar("Item")
Result = TypeVar("Result")

ROOT = "paths.root or MERGEREXP_ROOT"  # the settings that say where everything is written
SHOWN = 60  # characters of a value in a message
MOST_NAMED = 3  # items with the same mistake that are all named
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # categories of characters that a terminal does not show
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)

# These find the "user:password@" of an address. SQLAlchemy takes everything up to an @ for the password,
# whatever it contains. In other addresses the host ends at the first /, and a port may follow a colon before
# it. There a password with a / in it does not work as one, but whoever wrote it meant it to be secret.
_SQL = r"(?:postgres\w*|mysql|mariadb|mssql|oracle|\w+\+\w+)://"
_AFTER_HOST = r"[^/\s:@\[]*:(?![0-9]{0,5}(?:[/?#\s]|$))\S*@"
_LOGINS = (
    re.compile(rf"(?P<before>{_SQL})(?:[^/\s:]*:\S*|[^/\s@]*)@", re.IGNORECASE),
    re.compile(rf"(?P<before>://)(?:[^/?#\s]*@|{_AFTER_HOST})"),
)
# Over HTTP, a user without a password may be a token.
_PASSWORD = re.compile(
    rf"{_SQL}[^/\s:]*:\S*@|://[^/?#\s]*:[^/?#\s]*@|://{_AFTER_HOST}|https?://[^/?#\s]*@", re.IGNORECASE
)
# This finds "?password=..." and the ";PWD={...}" of an ODBC string, which may also be percent-encoded as the
# value of another argument.
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
    """The base class of all errors that the user can mend.

    Parameters
    ----------
    message
        What is wrong, with a line for each mistake.
    *hints
        Further lines, which say what to do.
    """

    def __init__(self, message: str = "", *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


class ConfigError(UserError):
    """A config can't be run; the message has one line for each mistake, which names the key."""


class DataError(UserError):
    """Input data or a data set can't be used; the message says which one and what to do."""


class WeightsError(UserError):
    """Pretrained weights can't be found or fetched; the message says how to get them."""


class StoreError(UserError):
    """An MLflow store can't be used until somebody mends it; the message says which one and what to do."""


def require(package: str, extra: str, purpose: str) -> None:
    """Check that a package is installed which the base installation leaves out.

    Parameters
    ----------
    package
        The name that the package is imported by.
    extra
        The extra of mergerexp that installs it.
    purpose
        What needs the package, as the subject of the message.

    Raises
    ------
    UserError
        If the package is not installed; the message says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(
            f"{purpose} needs {package}: pip install 'mergerexp[{extra}]' (here: pip install -e '.[{extra}]')"
        )


def require_torch(purpose: str) -> None:
    """Do what `require` does for torch."""
    require("torch", "train", purpose)


def describe(error: BaseException) -> str:
    """Return an error in one line of at most 2000 characters, for a status file or a table.

    Errors that the user can mend, and those that name a file, are described by their message alone. The type
    is put before the message of all others, which may mean little without it.
    """
    kind, message = type(error).__name__, without_credentials(" ".join(explain(error).split()))
    names_itself = isinstance(error, UserError) or (isinstance(error, OSError) and error.filename)
    return (message if names_itself and message else f"{kind}: {message}" if message else kind)[:2000]


def short(value: Any) -> str:
    """Return a value as text that fits on a line of a message."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def visible(text: str) -> str:
    r"""Return a text in which all that a terminal would obey or not show is escaped, such as ``\x1b``.

    Names of files and classes may hold escape sequences, line breaks, marks that reverse the direction of the
    text or have no width, and bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(repr(mark)[1:-1] if unicodedata.category(mark) in INVISIBLE else mark for mark in text)


def visible_lines(text: str) -> str:
    """Return a text whose line breaks are meant, with each line as `visible` shows it."""
    return "\n".join(visible(line) for line in text.split("\n"))


def error_text(error: BaseException) -> str:
    """Return what a terminal shows of an error: a line for each mistake, and then the hints."""
    text = explain(error)
    lines = text.split("\n") if isinstance(error, UserError) else [" ".join(text.split())]
    hints = error.hints if isinstance(error, UserError) else ()
    return "\n".join([*(f"error: {visible(line)}" for line in lines), *map(visible, hints)])


def explain(error: BaseException) -> str:
    """Return the message of an error, without the error number that Python puts before those of the system.

    If the system refused access to a file or had no room for it, the message says what to do about that.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if not error.filename:
        return error.strerror
    path = Path(os.fsdecode(error.filename))
    if error.errno in NO_ROOM:
        return (
            f"{path} can't be written ({error.strerror}): make room there, or let {ROOT} name a folder on "
            "another disk, and give the same command again; files that were complete are unchanged"
        )
    if error.errno in NO_RIGHT:
        nearest = next(place for place in (path, *path.absolute().parents) if os.path.exists(place))  # noqa: PTH110
        what = (
            f"{path} can't be opened or written"
            if nearest == path
            else f"in {nearest} nothing can be opened or written"
        )
        return f"{what} ({error.strerror}){_hint_of_owner(nearest, error.errno)}"
    return f"{path}: {error.strerror}"


def _hint_of_owner(nearest: Path, code: int | None) -> str:
    """Return to whom a file or folder belongs, and how two users can share a root."""
    import pwd

    if code == errno.EROFS:
        return f": its file system can only be read; {ROOT} says where to write"
    about = nearest.stat()

    def name(uid: int) -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"

    if about.st_uid == os.getuid():
        return (
            f": {nearest} belongs to you and has mode {about.st_mode & 0o7777:o}; {ROOT} says where to write"
        )
    mode, owner, user = f"{about.st_mode & 0o7777:o}", name(about.st_uid), name(os.getuid())
    return (
        f": {nearest} belongs to {owner} and has mode {mode}, and you are {user}. To share it, let {owner} "
        "give your group the right to write (chmod -R g+rwX on it), and let both of you work with umask 002; "
        f"or let {ROOT} name a folder of yours"
    )


def without_credentials(text: str) -> str:
    """Return a text without the users, passwords, tokens and keys that its addresses name."""
    for login in _LOGINS:
        text = login.sub(r"\g<before>", text)
    return _SECRET.sub(r"\g<name>***", text)


def has_secret(address: str) -> bool:
    """Tell whether an address names a password, a token or a key anywhere; a user name alone is no secret."""
    readings = (address, once := unquote_plus(address), unquote_plus(once))
    return any(_PASSWORD.search(reading) or _SECRET.search(reading) for reading in readings)


def try_all(
    do: Callable[[Item], Result], items: Iterable[Item], label: Callable[[Item], str] | None = None
) -> list[Result]:
    """Call a function with each of several items, and report the mistakes of all of them together.

    Parameters
    ----------
    do
        The function; it raises a UserError for an item with a mistake.
    items
        The items.
    label
        A function that returns what distinguishes an item from the others; it is put before the mistake.

    Returns
    -------
    list
        The result of each item, in the order of the items.

    Raises
    ------
    ConfigError
        If any item has a mistake. The message has a line for each of these items, or a single line for a
        mistake that all or many have.
    """
    results: list[Result] = []
    mistakes: list[tuple[str, UserError]] = []
    for item in items:
        try:
            results.append(do(item))
        except UserError as mistake:
            mistakes.append((label(item) if label else "", mistake))
    if not mistakes:
        return results
    lines = list(dict.fromkeys(str(mistake) for _, mistake in mistakes))
    if label is not None and (len(lines) > 1 or results):
        lines = list(_labelled_lines(mistakes))
    raise ConfigError("\n".join(lines)) from mistakes[0][1]


def _labelled_lines(mistakes: Iterable[tuple[str, UserError]]) -> Iterator[str]:
    """Yield the lines of mistakes behind their items; one that many items have is told once."""
    named: dict[str, list[str]] = {}
    for name, mistake in mistakes:
        for line in str(mistake).splitlines():
            named.setdefault(line, []).append(name)
    for line, names in named.items():
        if len(names) > MOST_NAMED:
            names = [f"{names[0]} and {len(names) - 1} others"] if all(names) else names[:1]
        yield from (_labelled(name, line) for name in names)


def _labelled(name: str, mistake: str) -> str:
    """Put what distinguishes an item before its mistake, unless the mistake begins with it."""
    return f"{name}: {mistake}" if name and not mistake.startswith(name) else mistake
