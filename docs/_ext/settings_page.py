"""The page of all settings: the YAML files of conf/, whichever there are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from mergerexp.config.sample_schema import SampleConfig
from mergerexp.config.schema import AggregateConfig, PrepareConfig, RobustnessConfig, TrainConfig
from mergerexp.config.survey_schema import ExportConfig, PredictConfig

CONF = Path(__file__).resolve().parents[2] / "conf"
PAGE = "settings"
VERBS: dict[str, type] = {
    "prepare": PrepareConfig,
    "train": TrainConfig,
    "aggregate": AggregateConfig,
    "robustness": RobustnessConfig,
    "export": ExportConfig,
    "predict": PredictConfig,
    "sample": SampleConfig,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the files to what is written in the page itself."""
    app.connect("source-read", _source_read)
    app.connect("env-get-outdated", lambda *_: [PAGE])  # files may have come or gone
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _source_read(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname == PAGE:
        content[0] += "".join(f"\n## {verb}\n\n```text\n{_help(verb)}\n```\n" for verb in VERBS)
        content[0] += f"\n## The values of the verbs\n\n{_files(CONF)}"
        folders = {path.parent for path in CONF.glob("*/**/*.yaml")}
        for folder in sorted(folders):
            content[0] += f"\n## {folder.relative_to(CONF).as_posix()}\n\n{_files(folder)}"


def _help(verb: str) -> str:
    """Return what --help shows of a verb on a machine without a cluster."""
    from mergerexp.config.help import help_text
    from mergerexp.config.hydra_adapter import read_command_line

    groups = {field.name for field in dataclasses.fields(VERBS[verb])}
    tracking = ["tracking=sqlite"] if "tracking" in groups else []
    launcher = ["hydra/launcher=slurm"] if verb == "train" else []
    args = read_command_line([*tracking, *launcher], f"python -m mergerexp.{verb}")
    return help_text(args, verb, VERBS[verb])


def _files(folder: Path) -> str:
    return "".join(
        f"```{{literalinclude}} ../conf/{name}\n:language: yaml\n:caption: conf/{name}\n```\n\n"
        for name in (path.relative_to(CONF).as_posix() for path in sorted(folder.glob("*.yaml")))
    )
