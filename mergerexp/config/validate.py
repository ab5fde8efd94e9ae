"""Refuse a wrong config before anything is done, in one line that names the key."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import unquote_plus

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.backbone_names import check_backbone
from mergerexp.config.options import options_of, who_has
from mergerexp.config.schema import (
    CHOICES,
    AggregateConfig,
    DataConfig,
    FolderDataConfig,
    InitConfig,
    NetworkConfig,
    PrepareConfig,
    RobustnessConfig,
    SimulatedDataConfig,
    StudyConfig,
    TrackingConfig,
    TrainConfig,
)
from mergerexp.errors import ConfigError, has_secret, without_credentials

Schema = TypeVar("Schema", PrepareConfig, TrainConfig, AggregateConfig, RobustnessConfig)
QUOTED = """a name with a comma or = in it is quoted: 'compare=["imagenet, lr=0.01",random]'"""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def validate(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed config against its schema and return it as typed dataclasses.

    Parameters
    ----------
    cfg
        What Hydra composed.
    schema
        Root dataclass of the verb.

    Raises
    ------
    ConfigError
        On an unknown or missing key, a value of the wrong type or out of bounds, or values that
        exclude each other.
    """
    checked = typed(cfg, schema)
    check_bounds(checked, "")
    if isinstance(checked, StudyConfig):
        _check_study(checked)
        return checked
    _check_data(checked.data)
    if isinstance(checked, TrainConfig):
        _check_run(checked)
    return checked


def typed(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Return a composed config as typed dataclasses; see `validate`, which also looks at the values.

    Raises
    ------
    ConfigError
        On an unknown or missing key, or a value of the wrong type.
    """
    groups = {name: _chosen_schema(cfg, name) for name in CHOICES if hasattr(schema, name)}
    try:
        node = OmegaConf.structured(schema)
        for name, chosen in groups.items():
            node[name] = OmegaConf.structured(chosen)
        node.merge_with(cfg)
        missing = sorted(OmegaConf.missing_keys(node))
        if missing:
            raise ConfigError(f"{missing[0]}: no value given; add {missing[0]}=VALUE")
        return cast(Schema, OmegaConf.to_object(node))
    except OmegaConfBaseException as error:
        key, reason = error.full_key or "", str(error).splitlines()[0]
        if re.match(r"Key '.*' not in '", reason):
            reason = who_has(key) or "unknown key; --help lists the keys"
        if "is not a ListConfig" in reason:
            reason = f"a list is needed: {key}=[A,B]{f'; {QUOTED}' if key == 'compare' else ''}"
        raise ConfigError(f"{key}: {reason}") from error


def _chosen_schema(cfg: DictConfig, group: str) -> Any:
    """Return the schema of a group that has several."""
    key, schemas = CHOICES[group]
    value = OmegaConf.select(cfg, f"{group}.{key}", throw_on_missing=False)
    if value not in schemas:
        raise ConfigError(f"{group}.{key}={value}: choose one of {', '.join(schemas)}")
    return schemas[value]


def check_bounds(node: Any, prefix: str) -> None:
    """Hold every value against the bounds that its field declares."""
    for field in dataclasses.fields(node):
        value, key = getattr(node, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_bounds(value, f"{key}.")
        elif field.metadata and value is not None:
            for entry in value if isinstance(value, list) else [value]:
                _check_value(key, entry, field.metadata)
            if field.metadata["none"] is not None:
                _check_strengths(key, value, field.metadata["none"])


def _check_value(key: str, value: Any, bounds: Any) -> None:
    if bounds["choices"] and value not in bounds["choices"]:
        raise ConfigError(f"{key}={value}: choose one of {', '.join(bounds['choices'])}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above = bounds["low"], bounds["high"], bounds["above"]
    if not (math.isfinite(value) and low <= value <= high and value > above):
        floor = f"above {above:g}" if above > -math.inf else f"at least {low:g}"
        limits = [floor] if max(above, low) > -math.inf else []
        limits += [f"at most {high:g}"] if high < math.inf else []
        raise ConfigError(f"{key}={value}: must be {' and '.join(limits) or 'a finite number'}")


def _check_strengths(key: str, strengths: list[float], none: float) -> None:
    away = [abs(strength - none) for strength in strengths]
    if len(away) < 2 or away[0] != 0 or any(b <= a for a, b in itertools.pairwise(away)):
        raise ConfigError(f"{key}={strengths}: must begin with {none:g}, none, and go away from it")


def _check_file_name(key: str, value: str) -> None:
    if not FILE_NAME.fullmatch(value):
        raise ConfigError(f"{key}={value}: use letters, digits, '.', '_' and '-' only (it names a folder)")


def _check_data(data: DataConfig) -> None:
    _check_file_name("data.name", data.name)
    if isinstance(data, SimulatedDataConfig):
        stages = data.simulator.stages
        if len(stages) != 3 or not math.isclose(sum(stages), 1.0, abs_tol=1e-6):
            raise ConfigError(f"data.simulator.stages={stages}: three fractions that sum to 1 are needed")
    if isinstance(data, FolderDataConfig):
        root = Path(data.root).expanduser()
        if not root.is_dir():
            raise ConfigError(f"data.root={data.root}: no such folder")
        if data.csv is not None and not (root / data.csv).is_file():
            raise ConfigError(f"data.csv={data.csv}: no such file in {data.root}")
        for folder in data.link_roots:
            if not Path(folder).expanduser().is_dir():
                raise ConfigError(f"data.link_roots={folder}: no such folder")


def _check_run(cfg: TrainConfig) -> None:
    if cfg.fold >= cfg.split.folds:
        raise ConfigError(f"fold={cfg.fold}: split.folds={cfg.split.folds} allows 0 to {cfg.split.folds - 1}")
    _check_init(cfg.init)
    _check_file_name("augment.name", cfg.augment.name)
    zoom = cfg.augment.zoom
    if len(zoom) != 2 or zoom[0] > zoom[1]:
        raise ConfigError(f"augment.zoom={zoom}: [low, high] is needed, with low <= high")
    _check_tracking(cfg.tracking)
    if isinstance(cfg.model, NetworkConfig):
        _check_network(cfg.model, cfg.init.weights == "pretrained")


def _check_init(init: InitConfig) -> None:
    """See that a shipped initialisation is what its name says: no setting turns it into another."""
    _check_file_name("init.name", init.name)
    options = options_of("init")
    for key in ("weights", "kind") if init.name in options else ():
        own, value = options[init.name][key], getattr(init, key)
        if value != own:
            raise ConfigError(
                f"init.{key}={value}: init={init.name} has {own}; choose one of init={', '.join(options)}, "
                "or name yours with init.name=NAME"
            )
    if init.weights == "random" and init.freeze_batchnorm:
        raise ConfigError(
            "init.freeze_batchnorm=true: random weights have no statistics to keep, and would never get any"
        )


def _check_tracking(tracking: TrackingConfig) -> None:
    if not tracking.experiment.strip():
        raise ConfigError("tracking.experiment: a name is needed")
    check_address("tracking.uri", tracking.uri)
    check_address("tracking.artifacts", tracking.artifacts)


def check_address(key: str, address: str | None) -> None:
    """Refuse an address that holds a secret: it is stored with every run, for all to read.

    Raises
    ------
    ConfigError
        Naming the key, and saying where the secret belongs.
    """
    if address is not None and has_secret(address):
        raise ConfigError(
            f"{key}={without_credentials(unquote_plus(unquote_plus(address)))}: no password, token or key in "
            "it, please, it would be stored with every run: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN (PostgreSQL: PGPASSWORD)"
        )


def _check_study(cfg: StudyConfig) -> None:
    _check_tracking(cfg.tracking)
    if cfg.tracking.uri is None:
        raise ConfigError("tracking=none: a study is read from MLflow: use sqlite or server")
    if isinstance(cfg, AggregateConfig):
        _check_report(cfg)
    if isinstance(cfg, RobustnessConfig):
        _check_list("subset", cfg.subset)
        _check_list("degradations", cfg.degradations)


def _check_report(cfg: AggregateConfig) -> None:
    if cfg.name is not None:
        _check_file_name("name", cfg.name)
    if cfg.compare is not None and (len(cfg.compare) != 2 or cfg.compare[0] == cfg.compare[1]):
        raise ConfigError(
            f"compare={cfg.compare}: two arms are needed, e.g. compare=[imagenet,random]; {QUOTED}"
        )


def _check_list(key: str, entries: list[Any] | None) -> None:
    if entries is not None and (not entries or len(set(entries)) < len(entries)):
        raise ConfigError(f"{key}={entries}: one entry at least is needed, and none twice")


def _check_network(model: NetworkConfig, is_pretrained: bool) -> None:
    if problem := check_backbone(model.backbone):
        raise ConfigError(f"model.backbone={model.backbone}: {problem}")
    where = model.pretrained
    if is_pretrained and where not in ("wheel", "hub") and not Path(where).expanduser().is_file():
        raise ConfigError(f"model.pretrained={where}: no such file (or say hub or wheel)")
