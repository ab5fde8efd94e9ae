"""The table of runs at the end of a call, from the stored metrics of the runs."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from rich.table import Table

from mergerexp.config.schema import unused_groups
from mergerexp.console import make_table
from mergerexp.files import flatten, read_json
from mergerexp.runs.endings import caveats
from mergerexp.runs.job_folder import DONE
from mergerexp.runs.run_folder import RunFolder

NOTE = "note"  # the column with caveats about how training ended
SAID_ONCE = ["data", "backbone"]  # columns that the title replaces where all runs have one value
TEXTS = ("data", "backbone", "init", "state")  # columns that may be broken into lines; numbers are not
COLUMNS = ["data", "backbone", "init", "subset", "fold", "N", "state", "error", "AUROC", "epochs", "s", NOTE]
N_MEANS = "N: twice the number of training images of the smaller class, the paper's training-set size"
ARM = ["data", "backbone", "init", "subset"]


def run_rows(folders: list[RunFolder]) -> pd.DataFrame:
    """Return a data frame with a row for each run.

    Parameters
    ----------
    folders
        The folders of the runs.

    Returns
    -------
    pandas.DataFrame
        The columns are `COLUMNS`, such as the balanced training-set size N, the test error and the seconds of
        training, and a further column for every other setting that differs between the runs. Scores are
        missing if a run is not done.
    """
    runs = pd.DataFrame([_row(folder) for folder in folders], columns=COLUMNS)
    settings = pd.DataFrame([_settings(folder) for folder in folders])
    differing = [column for column in settings if _differs(settings[column], runs)]
    return pd.concat([runs, settings[differing]], axis=1)


def run_table(folders: list[RunFolder]) -> Table:
    """Return the table for the terminal.

    Parameters
    ----------
    folders
        The folders of the runs.

    Returns
    -------
    rich.table.Table
        A row for each run; or, if some runs differ only in their fold, the mean over these runs and its
        standard error.
    """
    runs = run_rows(folders)
    arm = [*ARM, *(str(column) for column in runs if column not in COLUMNS)]
    if len(runs.groupby(arm, dropna=False)) < len(runs):
        return _arms(runs, arm)
    same, arm = _said_once(runs, arm)
    columns = [column for column in COLUMNS if column not in SAID_ONCE or column in arm]
    columns = [*(column for column in columns if column != NOTE), *(each for each in arm if each not in ARM)]
    table, notes = _table([*same, "test fold, classes weighed alike"], columns), []
    for row in runs.to_dict("records"):
        table.add_row(*(_text(row.get(column)) for column in columns))
        if row[NOTE]:
            notes.append(f"{_named({key: row[key] for key in ('init', 'subset', 'fold')})}: {row[NOTE]}")
    table.caption = "\n".join([N_MEANS, *notes])
    return table


def _arms(runs: pd.DataFrame, arm: list[str]) -> Table:
    same, arm = _said_once(runs, arm)
    title = [*same, "test error with classes weighed alike: mean over folds ± its standard error"]
    table, notes = _table(title, [*arm, "N", "done", "error", "AUROC", "minutes"]), []
    for values, part in runs.groupby(arm, sort=False, dropna=False):
        done = part[part["state"] == DONE]
        cells = [*map(_text, values), _text(done["N"].mean()), f"{len(done)} of {len(part)}"]
        minutes = f"{done['s'].sum() / 60:.1f}" if len(done) else ""
        table.add_row(*cells, _mean(done["error"]), _mean(done["AUROC"]), minutes)
        if said := _counted(done[NOTE]):
            notes.append(f"{_named(dict(zip(arm, values, strict=True)))}: {said}")
    table.caption = "\n".join([N_MEANS, *notes])
    return table


def _said_once(runs: pd.DataFrame, arm: list[str]) -> tuple[list[str], list[str]]:
    """Return the texts that all runs share, and the other columns that tell the arms apart."""
    same = [column for column in SAID_ONCE if len(runs[column].unique()) == 1]
    return [_text(runs[column].iloc[0]) for column in same], [each for each in arm if each not in same]


def _named(values: dict[str, Any]) -> str:
    """Name a row by those of its values that it has."""
    return ", ".join(f"{key}={text}" for key, value in values.items() if (text := _text(value)))


def _table(title: list[str], columns: list[str]) -> Table:
    table = make_table(", ".join(filter(None, title)))
    for column in columns:
        is_text = column in TEXTS
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def _settings(folder: RunFolder) -> dict[str, Any]:
    """Return the settings of a run that distinguish arms, without those that have a column in every table."""
    if not folder.config.is_file():
        return {}
    config: Any = OmegaConf.to_container(folder.read_config())
    unused = unused_groups(config["model"].get("kind"))
    for group in ("paths", "tracking", "data", "subset", "fold", *unused):
        config.pop(group, None)
    config.get("init", {}).pop("name", None)
    for setting in ("kind", "backbone", "method"):
        config["model"].pop(setting, None)
    return {key: str(value) for key, value in flatten(config).items()}


def _differs(setting: pd.Series, runs: pd.DataFrame) -> bool:
    """Tell whether a setting differs between runs.

    The settings of an initialisation are compared between the runs with this initialisation.
    """
    of_init = str(setting.name).startswith("init.")
    groups = runs["init"].fillna("") if of_init else pd.Series("", index=runs.index)
    return bool(setting.groupby(groups).nunique().max() > 1)


def _row(folder: RunFolder) -> dict[str, Any]:
    state = folder.status().get("state", "not started")
    row: dict[str, Any] = {"state": state, NOTE: ""}
    if folder.config.is_file():
        cfg = folder.read_config()
        has_init = "init" not in unused_groups(cfg.model.get("kind"))
        row |= {"data": cfg.data.name, "backbone": cfg.model.get("backbone") or cfg.model.method}
        row |= {"init": cfg.init.name if has_init else None, "subset": cfg.subset, "fold": cfg.fold}
    if state == DONE:
        metrics = read_json(folder.metrics)
        row |= {"N": metrics["train/n_balanced"], "error": metrics["test/error"]}
        row |= {"AUROC": metrics["test/auroc"], "s": metrics["run/seconds"]}
        row |= {"epochs": metrics.get("run/epochs")}  # fixed rules and forests have none
        trainer = folder.read_config().trainer
        row[NOTE] = ", ".join(caveats(metrics, trainer.max_epochs, trainer.patience))
    return row


def _counted(notes: pd.Series) -> str:
    """Return each note with the number of runs that have it."""
    numbers = notes[notes.astype(bool)].str.split(", ").explode().value_counts(sort=False)
    return ", ".join(f"{n} {note}" for note, n in numbers.items())


def _mean(values: pd.Series) -> str:
    if len(values) < 2:
        return "".join(f"{value:.4f}" for value in values)
    return f"{values.mean():.4f}±{values.std(ddof=1) / math.sqrt(len(values)):.4f}"


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 2 and value == round(value) else f"{value:.4g}"
    return str(value)
