"""Checks of a config before anything is done: each mistake becomes a line that names the key."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mergerexp.config.addresses import STORE_VARIABLE, check_address, check_store_address
from mergerexp.config.backbone_names import check_backbone
from mergerexp.config.keys import FORMS, form_of, options_of, plain_reason, who_has
from mergerexp.config.paths import check_folders
from mergerexp.config.sample_schema import CatalogueConfig, SampleConfig
from mergerexp.config.schema import (
    CHOICES,
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
from mergerexp.errors import ConfigError, short, try_all, without_credentials
from mergerexp.files import flatten
from mergerexp.settings import declared

Schema = TypeVar("Schema")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # line breaks, escape sequences and their like
LONGEST_EXPERIMENT = 256  # characters: what a store's database takes
ONE_LINE = (
    "it has a line break or another control character, and every text is a single line (where a list is "
    "asked for, each line is an entry of its own)"
)
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
    mistakes = list(_bound_mistakes(checked, ""))
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


def typed(cfg: DictConfig, schema: type[Schema]) -> Schema:
    """Return a composed config as typed dataclasses; see `validate`, which also looks at the values.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type; the message has a line for each.
    """
    cfg, empty = _resolved(cfg), OmegaConf.structured(schema)
    groups = [name for name in CHOICES if name in field_names(schema)]
    chosen = try_all(lambda name: chosen_schema(cfg, name), groups)
    for name, kind in zip(groups, chosen, strict=True):
        empty[name] = OmegaConf.structured(kind)
    return cast(Schema, merged(empty, cfg, ""))


def merged(empty: DictConfig, cfg: DictConfig, prefix: str) -> Any:
    """Merge values into a schema, and return them as its dataclass.

    Parameters
    ----------
    empty
        The schema without values.
    cfg
        The values, without interpolations. Wrong ones are removed from it, so that all are found.
    prefix
        The text before the keys in messages.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value has the wrong type; the message has a line for each.
    """
    mistakes, wrong = list[str](), set[str]()
    while True:
        try:
            node = copy.deepcopy(empty)
            node.merge_with(cfg)
            missing = [f"{prefix}{key}" for key in sorted(OmegaConf.missing_keys(node)) if key not in wrong]
            mistakes += [f"{key}: no value given; add {key}=VALUE" for key in missing]
            if mistakes:
                raise ConfigError("\n".join([*mistakes, *_bound_mistakes(node, prefix)]))
            return OmegaConf.to_object(node)
        except OmegaConfBaseException as error:
            wrong.add(error.full_key or "")
            mistakes.append(_type_mistake(error, prefix))
            if not _remove(cfg, error.full_key or ""):
                raise ConfigError("\n".join(mistakes)) from error


def _resolved(cfg: DictConfig) -> DictConfig:
    """Return a copy without interpolations; one that names nothing is refused under its own key."""
    try:
        return OmegaConf.create(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)))
    except OmegaConfBaseException as error:
        mistakes = _interpolation_mistakes(cfg) or [f"{error.full_key}: {str(error).splitlines()[0]}"]
        raise ConfigError("\n".join(mistakes)) from error


def _interpolation_mistakes(cfg: DictConfig) -> list[str]:
    """Return a line for each key whose interpolation names nothing; none for those within a list."""
    raw = flatten(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False)))
    reasons: dict[str, str] = {}
    for key in (key for key, value in raw.items() if isinstance(value, str) and "${" in value):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            reasons[key] = str(error).splitlines()[0]
    # A key that only refers to a wrong one is not wrong itself, unless all refer to each other.
    wrong = [key for key in reasons if not any(f"${{{other}}}" in raw[key] for other in reasons)]
    return [f"{key}={raw[key]}: {reasons[key]}" for key in wrong or reasons]


def field_names(schema: type) -> set[str]:
    """Return the names of a dataclass's fields."""
    return {field.name for field in dataclasses.fields(schema)}


def _type_mistake(error: OmegaConfBaseException, prefix: str) -> str:
    """Say in one line what OmegaConf says of a key."""
    key, reason = f"{prefix}{error.full_key or ''}", plain_reason(str(error).splitlines()[0])
    if key.partition(".")[0] == "experiment":
        reason = "the file of an experiment needs the line '# @package _global_' at its top"
    elif re.match(r"Key '.*' not in '", reason):
        reason = who_has(key) or "unknown key; --help lists the keys"
    elif reason.startswith("Invalid type assigned"):
        reason = f"it has keys of its own, as in {key}.KEY=VALUE"
    elif "is not a ListConfig" in reason:
        reason = f"a list is needed: {key}=[A,B]{form_of(key)}"
    elif key in FORMS:
        reason = FORMS[key]
    return f"{key}: {reason}"


def _remove(cfg: DictConfig, key: str) -> bool:
    """Take a key out of a config, to look for further mistakes; tell whether it was there."""
    parent, _, name = key.rpartition(".")
    with contextlib.suppress(OmegaConfBaseException):
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if isinstance(node, DictConfig) and name in node:
            del node[name]
            return True
    return False


def chosen_schema(cfg: DictConfig, group: str) -> Any:
    """Return the schema of a group that has several."""
    choice = CHOICES[group]
    value = OmegaConf.select(cfg, f"{group}.{choice.key}", throw_on_missing=False)
    if value not in choice.names:
        raise ConfigError(f"{group}.{choice.key}={value}: choose one of {', '.join(choice.names)}")
    return choice.schema(value)


def check_bounds(node: Any, prefix: str) -> None:
    """Check every value against the bounds that its field declares.

    Raises
    ------
    ConfigError
        If values are out of bounds, with a line for each.
    """
    if mistakes := list(_bound_mistakes(node, prefix)):
        raise ConfigError("\n".join(mistakes))


def _bound_mistakes(node: Any, prefix: str) -> Iterator[str]:
    """Yield a line for each value that is out of bounds; see `_values`."""
    for field, value in _values(node):
        key = f"{prefix}{field.name}"
        if (setting := declared(field)) is None:
            yield from _bound_mistakes(value, f"{key}.")
        else:
            entries = value if isinstance(value, list) else [value]
            found = [
                f"{key}={short(entry)}: {problem}"
                for entry in entries
                if (problem := setting.problem(entry)) is not None
            ]
            if isinstance(value, list) and any(isinstance(entry, list | dict) for entry in value):
                found = [f"{key}={short(value)}: a list within a list"]  # which OmegaConf lets pass
            if _has_control_characters(value):
                found = [f"{key}={short(without_credentials(repr(value)))}: {ONE_LINE}"]
            if not found and (problem := setting.problem_of_strengths(value)) is not None:
                found = [f"{key}={value}: {problem}"]
            yield from found


def _values(node: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Yield the fields that have a value, of a dataclass or of a config of its type."""
    is_config = OmegaConf.is_config(node)
    kind: Any = OmegaConf.get_type(node) if is_config else type(node)
    for field in dataclasses.fields(kind):
        if is_config and OmegaConf.is_missing(node, field.name):
            continue
        value = getattr(node, field.name)
        if value is not None:
            is_plain = declared(field) is None or not OmegaConf.is_config(value)
            yield field, value if is_plain else OmegaConf.to_container(value)


def _has_control_characters(value: Any) -> bool:
    """Tell whether a text, or any text within a list or a dictionary, has a control character."""
    if isinstance(value, str):
        return CONTROL.search(value) is not None
    if isinstance(value, dict):
        return any(_has_control_characters(part) for item in value.items() for part in item)
    return isinstance(value, list) and any(_has_control_characters(part) for part in value)


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
