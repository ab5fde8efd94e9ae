"""The short table at the end of a sweep, from the runs' stored predictions."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from rich.table import Table

from mergerexp.files import read_json
from mergerexp.sweep.run_folder import DONE, RunFolder

COLUMNS = ("data", "backbone", "init", "subset", "N", "fold", "state", "error", "AUROC", "epochs", "s")
ARM = ["data", "backbone", "init", "subset"]


def run_rows(folders: list[RunFolder]) -> pd.DataFrame:
    """Return one row a run; scores are missing where it is not done."""
    return pd.DataFrame([_row(folder) for folder in folders])


def run_table(folders: list[RunFolder]) -> Table:
    """Show single runs, or, where runs share all but the fold, their mean and its standard error."""
    runs = run_rows(folders)
    if runs.empty:
        return Table(title="no runs")
    if len(runs) > 1 and len(runs.groupby(ARM)) < len(runs):
        return _arms(runs)
    table = Table(title="test fold, classes weighed alike")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("data", "backbone", "init") else "right")
    for row in runs.to_dict("records"):
        table.add_row(*(_text(row.get(column)) for column in COLUMNS))
    return table


def _arms(runs: pd.DataFrame) -> Table:
    table = Table(title="test error with classes weighed alike: mean over folds, ± its standard error")
    for column in (*ARM, "N", "runs done", "error", "AUROC", "minutes"):
        table.add_column(column, justify="left" if column in ("data", "backbone", "init") else "right")
    for arm, part in runs.groupby(ARM, sort=False):
        done = part[part["state"] == DONE]
        count = f"{len(done)} of {len(part)}"
        minutes = f"{done['s'].sum() / 60:.1f}" if len(done) else ""
        cells = [*map(_text, arm), _text(done["N"].mean() if len(done) else None), count]
        table.add_row(*cells, _mean(done.get("error")), _mean(done.get("AUROC")), minutes)
    return table


def _row(folder: RunFolder) -> dict[str, Any]:
    state = folder.status().get("state", "not started")
    row: dict[str, Any] = {"state": state}
    if folder.config.is_file():
        cfg = OmegaConf.load(folder.config)
        row |= {"data": cfg.data.name, "backbone": cfg.model.backbone, "init": cfg.init.name}
        row |= {"subset": cfg.subset, "fold": cfg.fold}
    if state == DONE:
        metrics = read_json(folder.metrics)
        row |= {"N": metrics["train/n_balanced"], "error": metrics["test/error"]}
        row |= {"AUROC": metrics["test/auroc"], "epochs": metrics["run/epochs"], "s": metrics["run/seconds"]}
    return row


def _mean(values: pd.Series | None) -> str:
    if values is None or values.empty:
        return ""
    if len(values) == 1:
        return f"{values.iloc[0]:.4f}"
    return f"{values.mean():.4f} ± {values.std(ddof=1) / math.sqrt(len(values)):.4f}"


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 2 and value == round(value) else f"{value:.4g}"
    return str(value)
