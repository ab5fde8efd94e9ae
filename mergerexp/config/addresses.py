"""Checks of the addresses of MLflow's stores."""

from __future__ import annotations

from urllib.parse import unquote_plus, urlsplit

from mergerexp.config.paths import SQLITE
from mergerexp.errors import ConfigError, has_secret, short, without_credentials

STORE_VARIABLE = "MLFLOW_TRACKING_URI"  # the environment variable that names a store


def check_store_address(key: str, address: str | None) -> None:
    """Refuse an address that holds a secret, or can't be one of a store.

    Raises
    ------
    ConfigError
        If it is such an address; the message names the key.
    """
    check_address(key, address)
    if address is None:
        return
    if address.startswith("file:"):
        raise ConfigError(
            f"{key}={short(address)!r}: MLflow keeps no runs in a folder of files any more, but in "
            "a database, such as sqlite:///PATH/mlflow.db"
        )
    is_file = address.startswith(SQLITE) and len(address) > len(SQLITE)
    try:
        parts = urlsplit(address)
        is_other = bool(parts.scheme and parts.scheme != "sqlite" and (parts.netloc or parts.path))
    except ValueError:  # brackets without an IPv6 address in them
        is_other = False
    if not is_file and not is_other:
        raise ConfigError(
            f"{key}={short(address)!r}: no address of an MLflow store, such as sqlite:///mlflow.db or "
            "http://host:5000; tracking=none keeps run folders only"
        )


def check_address(key: str, address: str | None) -> None:
    """Refuse an address that holds a secret: it is stored with every run, for all to read.

    Raises
    ------
    ConfigError
        If it holds a secret; the message names the key and says where the secret belongs.
    """
    if address is not None and has_secret(address):
        raise ConfigError(
            f"{key}={without_credentials(unquote_plus(unquote_plus(address)))}: no password, token or key in "
            "it, please, it would be stored with every run: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN (PostgreSQL: PGPASSWORD)"
        )
