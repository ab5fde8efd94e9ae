"""What Hydra's and OmegaConf's errors say, in one line of plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mergerexp.config.config_files import unknown_key
from mergerexp.config.keys import form_of, hint_on_value, plain_reason
from mergerexp.errors import describe

FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch: errors are raised, not printed
OTHERS = "mergerexp_"  # begins the names under which other applications find our launchers


def explain_hydra(error: Exception, overrides: Sequence[str], schema: type) -> tuple[str, str | None]:
    """Say in one line what Hydra says in several.

    Parameters
    ----------
    error
        What Hydra raised when it composed a config.
    overrides
        The overrides that it was given.
    schema
        The root dataclass of the config, whose keys are named.

    Returns
    -------
    tuple
        The line, and the override that is to blame; None if no single one is.
    """
    text, cause = str(error).partition("\nSearch path")[0], error.__cause__
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.strip("'\"").partition("=")
        if not equals:
            return f"{key!r}: no setting; settings are KEY=VALUE", _find(error.override, overrides)
        # The value is not shown, since it may be secret.
        return f"{key}: its value can't be read; {hint_on_value(key, value)}", _find(
            error.override, overrides
        )
    if match := re.match(r"Could not override '([^']+)'", text):
        key = match[1]
        if isinstance(cause, OmegaConfBaseException) and "not in struct" not in str(cause):
            return f"{key}: {plain_reason(str(cause).splitlines()[0])}{form_of(key)}", _of_key(key, overrides)
        return f"{key}: {unknown_key(key, schema)}", _of_key(key, overrides)
    if match := re.match(r"Error merging override (.*)", text):
        key = match[1].lstrip("+~").partition("=")[0]
        reason = plain_reason(str(cause).splitlines()[0]) if cause is not None else "it can't be merged"
        return f"{key}: {reason}{form_of(key)}", _find(match[1], overrides)
    if match := re.search(r"(?:argument|parameters) '(.*)'", text) if "--multirun" in text else None:
        return f"{match[1]}: several values need -m, as in -m {match[1]}", _find(match[1], overrides)
    if match := re.match(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]}: no value given; add {match[1]}=VALUE", _of_key(match[1], overrides)
    if "Available options in" in text:
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        wanted = re.search(r"Could not find '([^']+)'", text)
        group, _, option = (wanted[1] if wanted else "?").lstrip("/").replace("//", "/").rpartition("/")
        shown = ", ".join(name for name in options if not name.startswith(OTHERS))
        return f"{group}={option}: choose one of {shown}", _of_key(group, overrides)
    if text.startswith("Config group override must be"):
        groups = [one for one in overrides if re.match(r"[\w/@]+=(null|[\d.]+)$", one)]
        if groups:
            return f"{groups[0]}: choose an option of the group by its name", groups[0]
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError | OSError):
        return " ".join(f"{text} {cause or ''}".split()) or type(error).__name__, None
    return f"{describe(error)} ({FULL_ERROR}=1 shows where it came from)", None


def _find(wanted: str, overrides: Sequence[str]) -> str | None:
    return next((override for override in overrides if override == wanted), None)


def _of_key(key: str, overrides: Sequence[str]) -> str | None:
    keys = {override.lstrip("+~").partition("=")[0].partition("@")[0]: override for override in overrides}
    return keys.get(key)
