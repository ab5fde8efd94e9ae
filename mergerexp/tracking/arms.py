"""Which runs can be compared: the same protocol on the same data, one arm a way of doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mergerexp.config.schema import FOREST

Settings = Mapping[str, str]  # of one run: dotted key -> value, as MLflow keeps them

CELL = ("subset", "fold", "seed")  # an arm's runs differ in these
# What all runs of a study share; the data's content stands for how it was made.
PROTOCOL = (
    "split.",
    "trainer.max_epochs",
    "trainer.patience",
    "trainer.per_class",
    "trainer.device",
    "trainer.precision",
)
NO_MATTER = ("paths.", "tracking.", "data.", "trainer.")  # as far as it is not part of the protocol
# Tried first to tell arms apart; what they share is not mentioned.
TELLING = ("model.backbone", "optimizer.name", "optimizer.lr", "augment.name", "init.lr_factor")


def protocol(settings: Settings, tags: Settings) -> dict[str, str]:
    """Return what a run must share with the others of its study.

    A method without training has nothing to do with the trainer's settings.

    Parameters
    ----------
    settings, tags
        As MLflow keeps them.
    """
    prefixes = PROTOCOL if is_network(settings) else PROTOCOL[:1]
    shared = {key: value for key, value in settings.items() if key.startswith(prefixes)}
    content_hash = tags.get("mergerexp.data.content_hash", "unknown")[:12]
    return {"data": content_hash, "code": tags.get("mergerexp.protocol", "unknown"), **shared}


def is_network(settings: Settings) -> bool:
    """Tell whether a run trains a network, rather than a rule or a forest on measured features."""
    return settings.get("model.kind", "network") == "network"


def arm_of(settings: Settings, tags: Settings) -> dict[str, str]:
    """Return the settings that make a run's arm: those that make it another run, and no others.

    Weights are known by their content, wherever they came from; random ones have none. A fixed rule has no
    settings.

    Parameters
    ----------
    settings, tags
        As MLflow keeps them.
    """
    if not is_network(settings):
        is_rule = not settings["model.method"].startswith(FOREST)
        own = ("model.kind", "model.method") if is_rule else ("model.",)
        return {k: v for k, v in settings.items() if k.startswith((*own, "data.stretch"))}
    left_out = (*PROTOCOL, *NO_MATTER, "model.pretrained")
    arm = {k: v for k, v in settings.items() if k not in CELL and not k.startswith(left_out)}
    if settings.get("init.weights") == "pretrained":
        arm["weights"] = tags.get("mergerexp.weights.sha256", settings.get("model.pretrained", "unknown"))[
            :12
        ]
    return arm


def name_arms(arms: Sequence[Settings]) -> list[str]:
    """Return a short name for each run's arm: its initialisation, and what else tells it apart.

    Parameters
    ----------
    arms
        `arm_of` of each run.
    """
    distinct = [dict(items) for items in dict.fromkeys(tuple(sorted(arm.items())) for arm in arms)]
    names = {tuple(sorted(arm.items())): _base(arm) for arm in distinct}
    for base in {name for name, n in Counter(names.values()).items() if n > 1}:
        alike = [arm for arm in distinct if _base(arm) == base]
        for arm, name in zip(alike, _tell_apart(base, alike), strict=True):
            names[tuple(sorted(arm.items()))] = name
    return [names[tuple(sorted(arm.items()))] for arm in arms]


def _base(arm: Settings) -> str:
    return arm["init.name"] if is_network(arm) else arm["model.method"]


def _tell_apart(base: str, arms: Sequence[Settings]) -> list[str]:
    """Add settings to the name until no two arms share one."""
    keys = sorted({key for arm in arms for key in arm}, key=lambda key: (key not in TELLING, key))
    names = [base] * len(arms)
    for key in keys:
        longer = [f"{name}, {_said(key, arm.get(key, '-'))}" for name, arm in zip(names, arms, strict=True)]
        if len(set(longer)) > len(set(names)):
            names = longer
    return names


def _said(key: str, value: str) -> str:
    if key == "model.backbone":
        return value.removeprefix("tf_").removeprefix("legacy_")
    return value if key.endswith(".name") else f"{key.rpartition('.')[2]}={value}"
