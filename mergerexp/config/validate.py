"""Checks of a config before anything is done: each mistake becomes a line that names the key."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mergerexp.config.addresses import STORE_VARIABLE, check_address, check_store_address
from mergerexp.config.backbone_names import check_backbone
from mergerexp.config.bounds import bound_mistakes
from mergerexp.config.keys import form_of, options_of
from mergerexp.config.paths import check_folders
from mergerexp.config.sample_schema import CatalogueConfig, SampleConfig
from mergerexp.config.schema import (
    AggregateConfig,
    AugmentConfig,
    DataConfig,
    InitConfig,
    NetworkConfig,
    PathsConfig,
    RobustnessConfig,
    StudyConfig,
    TrackingConfig,
    TrainConfig,
)
from mergerexp.config.survey_schema import ExportConfig, PredictConfig
from mergerexp.config.typed import Schema, typed
from mergerexp.errors import ConfigError, short, try_all

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST_EXPERIMENT = 256  # characters: what a store's database takes
LONGEST_NAME = 100  # characters: with what a run folder's name holds besides, a file system takes it


def validate(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Check a composed config against its schema and return it as typed dataclasses.

    Parameters
    ----------
    cfg
        The config that Hydra composed.
    schema
        The root dataclass of the verb's config.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type, is out of bounds or excludes another
        one; the message has a line for each.
    """
    checked = typed(cfg, schema)
    groups = list(_groups(checked, ""))
    mistakes = list(bound_mistakes(checked, ""))
    wrong = {line.partition("=")[0] for line in mistakes}
    mistakes += _group_mistakes(groups, wrong)
    checks = [(check, group) for _, group in groups for kind, check in CHECKS if isinstance(group, kind)]
    try:
        try_all(lambda item: item[0](item[1]), checks)
    except ConfigError as error:
        mistakes += [line for line in str(error).splitlines() if line.partition("=")[0] not in wrong]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return checked


def _group_mistakes(groups: Sequence[tuple[str, Any]], wrong: Collection[str]) -> Iterator[str]:
    """Yield what each group's ``problem()`` says of its values, unless the key is known to be wrong."""
    for prefix, group in groups:
        with contextlib.suppress(TypeError):  # of numbers beside what is none, which its bounds have refused
            line = getattr(group, "problem", lambda: None)()
            if line is not None and f"{prefix}{line}".partition("=")[0] not in wrong:
                yield f"{prefix}{line}"


def check_file_name(key: str, value: str) -> None:
    """Refuse a name that can't be that of a folder.

    Raises
    ------
    ConfigError
        If it has other characters than letters, digits, '.', '_' and '-', or too many.
    """
    if not FILE_NAME.fullmatch(value):
        raise ConfigError(
            f"{key}={short(value)}: use letters, digits, '.', '_' and '-' only (it names a folder)"
        )
    if len(value) > LONGEST_NAME:
        raise ConfigError(f"{key}={short(value)}: at most {LONGEST_NAME} characters (it names a folder)")


def _check_paths(paths: PathsConfig) -> None:
    for field in dataclasses.fields(paths):
        if not getattr(paths, field.name).strip():
            raise ConfigError(f"paths.{field.name}: a folder is needed")
    check_folders(paths)


def _groups(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the prefix of the keys of a dataclass and the dataclass, then those of all dataclasses in it."""
    yield key, node
    for field in dataclasses.fields(node):
        if dataclasses.is_dataclass(group := getattr(node, field.name)):
            yield from _groups(group, f"{key}{field.name}.")


def _check_init(init: InitConfig) -> None:
    """Refuse settings that would turn an initialisation of ours into another one than its name says."""
    check_file_name("init.name", init.name)
    options = options_of("init")
    if (own := options.get(init.name)) is not None:
        if own["source"] is None and init.source is not None:
            raise ConfigError(
                f"init.source={init.source}: init={init.name} has none; choose init=galaxies, or name yours "
                "with init.name=NAME"
            )
        for key in ("weights", "kind"):
            if (value := getattr(init, key)) != own[key]:
                raise ConfigError(
                    f"init.{key}={value}: init={init.name} has {own[key]}; choose one of "
                    f"init={', '.join(options)}, or name yours with init.name=NAME"
                )
    if init.weights == "random" and init.freeze_batchnorm:
        raise ConfigError(
            "init.freeze_batchnorm=true: random weights have no statistics to keep, and would never get any"
        )


def _check_tracking(tracking: TrackingConfig) -> None:
    if not tracking.experiment.strip():
        raise ConfigError("tracking.experiment: a name is needed")
    if len(tracking.experiment) > LONGEST_EXPERIMENT:
        raise ConfigError(
            f"tracking.experiment={short(tracking.experiment)}: at most {LONGEST_EXPERIMENT} characters"
        )
    from_environment = tracking.uri is not None and tracking.uri == os.environ.get(STORE_VARIABLE)
    check_store_address(STORE_VARIABLE if from_environment else "tracking.uri", tracking.uri)
    check_address("tracking.artifacts", tracking.artifacts)
    if tracking.artifacts is not None and not tracking.artifacts.strip():
        raise ConfigError("tracking.artifacts: a folder or an address is needed, or null")


def _check_study(cfg: StudyConfig) -> None:
    if cfg.tracking.uri is None and cfg.needs_store:
        raise ConfigError(
            "tracking=none: a study is read from MLflow, so choose tracking=sqlite or tracking=server"
        )


def _check_ratings(cfg: RobustnessConfig) -> None:
    _check_list("subset", cfg.subset)
    _check_list("degradations", cfg.degradations)


def _check_name(cfg: AggregateConfig | ExportConfig | PredictConfig | SampleConfig) -> None:
    if cfg.name is not None:
        check_file_name("name", cfg.name)


def _check_report(cfg: AggregateConfig) -> None:
    if cfg.compare is not None and (len(cfg.compare) != 2 or cfg.compare[0] == cfg.compare[1]):
        raise ConfigError(
            f"compare={cfg.compare}: two methods are needed, e.g. compare=[imagenet,random]"
            f"{form_of('compare')}"
        )


def _check_list(key: str, entries: list[Any] | None) -> None:
    if entries is not None and (not entries or len(set(entries)) < len(entries)):
        raise ConfigError(f"{key}={entries}: one entry at least is needed, and none twice")


def _check_network(cfg: TrainConfig) -> None:
    model = cfg.model
    if not isinstance(model, NetworkConfig):
        return
    if problem := check_backbone(model.backbone):
        raise ConfigError(f"model.backbone={model.backbone}: {problem}")
    if cfg.init.weights == "random":
        if cfg.init.source is not None:
            raise ConfigError(f"init.source={cfg.init.source}: weights=random starts from no weights")
    elif cfg.init.source is not None:
        where = Path(cfg.init.source).expanduser()
        if not cfg.init.source.startswith("hf-hub:") and not (where / "config.json").is_file():
            raise ConfigError(
                f"init.source={cfg.init.source}: no folder in timm's layout, with config.json and "
                "model.safetensors; name one with paths.galaxies=FOLDER, or say init.source=hf-hub:OWNER/NAME"
            )
    elif model.pretrained not in ("wheel", "hub") and not Path(model.pretrained).expanduser().is_file():
        raise ConfigError(f"model.pretrained={model.pretrained}: no such file (or say hub or wheel)")


# The checks beside bounds, by the type of the config group that they are for.
CHECKS: tuple[tuple[type, Callable[[Any], None]], ...] = (
    (PathsConfig, _check_paths),
    (DataConfig, lambda data: check_file_name("data.name", data.name)),
    (InitConfig, _check_init),
    (AugmentConfig, lambda augment: check_file_name("augment.name", augment.name)),
    (TrackingConfig, _check_tracking),
    (TrainConfig, _check_network),
    (StudyConfig, _check_study),
    (AggregateConfig, _check_name),
    (AggregateConfig, _check_report),
    (ExportConfig, _check_name),
    (PredictConfig, _check_name),
    (SampleConfig, _check_name),
    (CatalogueConfig, lambda catalogue: check_file_name("catalogue.name", catalogue.name)),
    (RobustnessConfig, _check_ratings),
)
