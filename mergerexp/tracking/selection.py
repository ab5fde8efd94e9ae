"""Which of the runs in MLflow make a study: runs that can be compared, one for each cell of its grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mergerexp.errors import UserError
from mergerexp.tracking.arms import CELL, arm_of, is_network, name_arms, shared_settings
from mergerexp.tracking.store_file import SYNC
from mergerexp.tracking.tags import IDENTITY, SWEEP

if TYPE_CHECKING:
    from mlflow.entities import Run

# The settings that every run must have, and the types to which their texts are converted.
REQUIRED = {"subset": float, "seed": int, "fold": int, "split.folds": int}
# What MLflow says of a run that has ended without results, as the kind of a gap and in words.
ENDINGS = {"FAILED": ("failed", "has failed"), "KILLED": ("stopped", "was stopped by its user")}


@dataclass(frozen=True)
class Gap:
    """Something that keeps a study from being whole.

    Attributes
    ----------
    kind
        One of missing, unfinished, stopped, failed, duplicate, foreign, damaged and partial.
    what
        The cell or run, and what is wrong with it.
    """

    kind: str
    what: str

    @property
    def is_minor(self) -> bool:
        """Tell whether a part of the report can be left out because of it, and the rest is whole."""
        return self.kind == "partial"

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def runs_of_sweep(runs: Sequence[Run], beginning: str) -> list[Run]:
    """Return the runs of the one sweep whose ID begins as given.

    Raises
    ------
    UserError
        If there is no such sweep, or several.
    """
    ids = {tag.removeprefix(SWEEP) for run in runs for tag in run.data.tags if tag.startswith(SWEEP)}
    chosen = sorted(name for name in ids if name.startswith(beginning))
    if len(chosen) != 1:
        what = "several sweeps begin so:" if chosen else "no such sweep in MLflow, which has"
        raise UserError(f"sweep={beginning}: {what} {', '.join(chosen or sorted(ids)) or 'none'}")
    return [run for run in runs if f"{SWEEP}{chosen[0]}" in run.data.tags]


def runs_with_setting(runs: Sequence[Run], key: str, value: Any) -> list[Run]:
    """Return the runs in which a setting, or a tag (``tags.NAME``), has a value or one of several values.

    Raises
    ------
    UserError
        If there is no such run.
    """
    is_tag, name = key.startswith("tags."), key.removeprefix("tags.")
    entries = [(run, run.data.tags if is_tag else run.data.params) for run in runs]
    known = [(run, values[name]) for run, values in entries if name in values]
    if not known:
        setting = "such a setting; the keys are those of a run's config.yaml"
        raise UserError(f"where.{key}: no run has {'such a tag in MLflow' if is_tag else setting}")
    wanted = value if isinstance(value, list) else [value]
    for one in wanted:
        if not any(_is_same(present, one) for _, present in known):
            there = ", ".join(sorted({present for _, present in known}))
            raise UserError(f"where.{key}={one}: no run has this value; there are {there}")
    return [run for run, present in known if any(_is_same(present, one) for one in wanted)]


def _is_same(present: str, wanted: Any) -> bool:
    try:
        return float(present) == float(wanted)
    except (TypeError, ValueError):
        return present == str(wanted)


def select(found: Sequence[Run]) -> tuple[pd.DataFrame, list[Gap]]:
    """Keep the finished runs that can be compared, the newest of each cell, and name everything amiss.

    Returns
    -------
    DataFrame
        The runs, one per row; see `mergerexp.tracking.study.Study`.
    list of Gap
        What was left out or is not there.

    Raises
    ------
    UserError
        If no run is left.
    """
    ours = [run for run in found if _is_ours(run)]
    gaps = [Gap("foreign", f"{_title(run)} was not made by mergerexp") for run in found if not _is_ours(run)]
    kinds = Counter(_shared_items(run) for run in ours)
    if not kinds:
        raise UserError("none of the chosen runs was made by mergerexp")
    usual = max(kinds, key=lambda key: kinds[key])
    # Methods without training share fewer settings, which must be among those that the networks share.
    biggest = max(kinds, key=lambda key: (len(key), kinds[key]))
    reference = dict(biggest if set(usual) <= set(biggest) else usual)
    comparable = []
    for run in ours:
        shared = dict(_shared_items(run))
        differing = [key for key, value in shared.items() if reference.get(key) != value]
        if differing:
            has = ", ".join(f"{key}={shared[key]}" for key in differing)
            instead = ", ".join(f"{key}={reference.get(key)}" for key in differing)
            gaps.append(
                Gap("foreign", f"{_title(run)} has {has}, unlike the other runs, which have {instead}")
            )
        else:
            comparable.append(run)
    return _newest_of_each_cell(_rows(comparable), gaps)


def _is_ours(run: Run) -> bool:
    settings = run.data.params
    try:
        for key, number in REQUIRED.items():
            number(settings[key])
    except (KeyError, ValueError):
        return False
    name = "init.name" if is_network(settings) else "model.method"
    return IDENTITY in run.data.tags and name in settings


def _shared_items(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(shared_settings(run.data.params, run.data.tags).items()))


def _title(run: Run) -> str:
    return f"{run.info.run_name} ({run.info.run_id[:8]})"


def _rows(runs: Sequence[Run]) -> pd.DataFrame:
    arms = name_arms([arm_of(run.data.params, run.data.tags) for run in runs])
    rows = [
        {
            "arm": arm,
            **{key: number(run.data.params[key]) for key, number in REQUIRED.items()},
            "n_train": int(run.data.metrics.get("train/n_balanced", 0)),
            "run_id": run.info.run_id,
            "run_name": run.info.run_name,
            "status": run.info.status,
            "started": run.info.start_time,
            "ended": run.info.end_time,
            "seconds": run.data.metrics.get("run/seconds"),
            "epochs": run.data.metrics.get("run/epochs"),
            "commit": run.data.tags.get("mergerexp.git.commit"),
            "device": run.data.tags.get("mergerexp.device"),
            "error": run.data.tags.get("mergerexp.error", ""),
        }
        for run, arm in zip(runs, arms, strict=True)
    ]
    return pd.DataFrame(rows)


def _newest_of_each_cell(rows: pd.DataFrame, gaps: list[Gap]) -> tuple[pd.DataFrame, list[Gap]]:
    """Keep the newest finished run of each cell, and compare the cells with the grid."""
    cell = ["arm", *CELL]
    kept = []
    for key, group in rows.groupby(cell):
        name = cell_name(dict(zip(cell, key, strict=True)))
        finished = group[group["status"] == "FINISHED"].sort_values("ended")
        if len(finished) > 1:
            *others, newest = (run_id[:8] for run_id in finished["run_id"])
            which = f"the newest is run {newest}, and the others are {', '.join(others)}"
            gaps.append(Gap("duplicate", f"{name} was finished {len(finished)} times: {which}"))
        if len(finished):
            kept.append(finished.iloc[-1])
            continue
        last = group.sort_values("started").iloc[-1]
        reason = f": {last['error']}" if last["error"] else ""
        kind, state = ENDINGS.get(last["status"], ("unfinished", "is not finished"))
        gaps.append(Gap(kind, f"{name} {state} (run {last['run_id'][:8]}){reason}"))
    gaps += _missing(rows)
    if not kept:
        raise UserError("\n".join(["none of the chosen runs is finished:", *map(str, gaps)]), SYNC)
    order = ["arm", "subset", "seed", "fold"]
    runs = pd.DataFrame(kept).sort_values(order, ascending=[True, False, True, True])
    return runs.drop(columns=["status", "error", "split.folds"]).reset_index(drop=True), gaps


def _missing(rows: pd.DataFrame) -> list[Gap]:
    """Return a gap for each arm, size and seed that lacks folds."""
    cell = ["arm", *CELL]
    present = {tuple(key) for key, _ in rows.groupby(cell)}
    lacking: dict[tuple[Any, ...], list[int]] = {}
    for expected in _grid(rows):
        if tuple(expected[column] for column in cell) not in present:
            others = tuple(expected[column] for column in ("arm", "subset", "seed"))
            lacking.setdefault(others, []).append(expected["fold"])
    gaps = []
    for (arm, subset, seed), folds in lacking.items():
        name = cell_name({"arm": arm, "subset": subset, "seed": seed, "fold": ",".join(map(str, folds))})
        several = f"are not in MLflow; the study has {rows['split.folds'].max()} folds"
        gaps.append(Gap("missing", f"{name} {several if len(folds) > 1 else 'is not in MLflow'}"))
    return gaps


def _grid(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the cells that a study with these runs should have.

    Every arm should have all folds for each of its seeds. The arms that were trained at more than one size
    should all have the same sizes; an arm that was trained at a single size should have that one only.
    """
    sizes = {arm: set(group["subset"]) for arm, group in rows.groupby("arm")}
    studied = set().union(*(subsets for subsets in sizes.values() if len(subsets) > 1))
    folds = range(int(rows["split.folds"].max()))
    return [
        {"arm": arm, "subset": subset, "fold": fold, "seed": seed}
        for arm, group in rows.groupby("arm")
        for subset in sorted(studied if len(sizes[arm]) > 1 else sizes[arm], reverse=True)
        for fold in folds
        for seed in sorted(set(group["seed"]))
    ]


def cell_name(cell: Mapping[str, Any]) -> str:
    """Name a cell in the words of the command line."""
    return f"{cell['arm']} subset={cell['subset']:g} fold={cell['fold']} seed={cell['seed']}"


def run_title(run: Mapping[str, Any]) -> str:
    """Name a run, which is a row of `Study.runs`, by its cell and the beginning of its ID."""
    return f"{cell_name(run)} (run {run['run_id'][:8]})"
