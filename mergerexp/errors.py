"""Mistakes that the user can mend; their message is shown as it is, without a traceback."""


class UserError(ValueError):
    """Base of them."""


class ConfigError(UserError):
    """A config that can't be run; the message has one line a mistake, each naming its key."""


class DataError(UserError):
    """Input data or a data set that can't be used; the message says which and what to do."""


class WeightsError(UserError):
    """Pretrained weights that can't be had; the message says how to get them."""


def describe(error: BaseException) -> str:
    """Return an error's type and message in one line, for a status file or a table."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}"[:2000] if message else type(error).__name__
