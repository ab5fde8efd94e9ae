"""Which runs can be compared: those with the same training and evaluation on the same data.

An arm is one way of classifying the galaxies, such as one initialisation of a network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mergerexp.config.backbone_names import short_name
from mergerexp.config.schema import FOREST

RunSettings = Mapping[str, str]  # the settings of one run by their dotted keys, as MLflow keeps them

CELL = ("subset", "fold", "seed")  # the settings in which the runs of one arm differ
# All runs of a study share the settings whose keys begin so. The settings that made the data are not among
# them, since data sets are compared by their content.
SHARED = (
    "split.",
    "trainer.max_epochs",
    "trainer.patience",
    "trainer.per_class",
    "trainer.device",
    "trainer.precision",
)
# Settings whose keys begin so make no difference between arms.
IRRELEVANT = ("paths.", "tracking.", "data.", "trainer.")
# The settings that are tried first to distinguish arms by their names.
MOST_DISTINCTIVE = ("model.backbone", "optimizer.name", "optimizer.lr", "augment.name", "init.lr_factor")


def shared_settings(settings: RunSettings, tags: RunSettings) -> dict[str, str]:
    """Return what a run must share with the others of its study.

    The trainer's settings do not matter for a method without training.

    Parameters
    ----------
    settings, tags
        The run's settings and tags as MLflow keeps them.
    """
    prefixes = SHARED if is_network(settings) else SHARED[:1]
    shared = {key: value for key, value in settings.items() if key.startswith(prefixes)}
    content_hash = tags.get("mergerexp.data.content_hash", "unknown")[:12]
    return {"data": content_hash, "code": tags.get("mergerexp.protocol", "unknown"), **shared}


def is_network(settings: RunSettings) -> bool:
    """Tell whether a run trains a network, rather than a rule or a forest on measured features."""
    return settings.get("model.kind", "network") == "network"


def arm_of(settings: RunSettings, tags: RunSettings) -> dict[str, str]:
    """Return the settings that make a run's arm: those that would make it a different run, and no others.

    Pretrained weights are identified by their content, wherever they came from. Random weights have no
    content to be identified by, and a fixed rule has no settings.

    Parameters
    ----------
    settings, tags
        The run's settings and tags as MLflow keeps them.
    """
    if not is_network(settings):
        is_rule = not settings["model.method"].startswith(FOREST)
        model = ("model.kind", "model.method") if is_rule else ("model.",)
        return {k: v for k, v in settings.items() if k.startswith((*model, "data.stretch"))}
    left_out = (*SHARED, *IRRELEVANT, "model.pretrained", "init.source")
    arm = {k: v for k, v in settings.items() if k not in CELL and not k.startswith(left_out)}
    if settings.get("init.weights") == "pretrained":
        sha256 = tags.get("mergerexp.weights.sha256", settings.get("model.pretrained", "unknown"))
        arm["weights"] = sha256[:12]
    return arm


def name_arms(arms: Sequence[RunSettings]) -> list[str]:
    """Return a short name for each run's arm: its initialisation, and what else distinguishes it.

    Parameters
    ----------
    arms
        The result of `arm_of` for each run.
    """
    distinct = {frozenset(arm.items()): arm for arm in arms}
    names = {key: _base_name(arm) for key, arm in distinct.items()}
    for base in {name for name, n in Counter(names.values()).items() if n > 1}:
        alike = {key: distinct[key] for key, name in names.items() if name == base}
        names |= zip(alike, _distinguish(base, list(alike.values())), strict=True)
    return [names[frozenset(arm.items())] for arm in arms]


def _base_name(arm: RunSettings) -> str:
    return arm["init.name"] if is_network(arm) else arm["model.method"]


def _distinguish(base: str, arms: Sequence[RunSettings]) -> list[str]:
    """Add settings to the base name until no two arms have the same name."""
    keys = sorted({key for arm in arms for key in arm}, key=lambda key: (key not in MOST_DISTINCTIVE, key))
    names = [base] * len(arms)
    for key in keys:
        texts = [_setting_text(key, arm.get(key, "-")) for arm in arms]
        longer = [f"{name}, {text}" for name, text in zip(names, texts, strict=True)]
        if len(set(longer)) > len(set(names)):
            names = longer
    return names


def _setting_text(key: str, value: str) -> str:
    if key == "model.backbone":
        return short_name(value)
    return value if key.endswith(".name") else f"{key.rpartition('.')[2]}={value}"
