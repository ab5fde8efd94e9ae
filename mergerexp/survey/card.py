"""The card of a model folder: what readers, model hubs and archives are told about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mergerexp.files import write_text
from mergerexp.survey.model_folder import CARD, CITATION, ZENODO

TEMPLATES = Environment(
    loader=PackageLoader("mergerexp.survey"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def write_card(folder: Path, about: dict[str, Any]) -> None:
    """Write ``README.md`` with the metadata that model hubs read, ``CITATION.cff`` and ``.zenodo.json``.

    Parameters
    ----------
    folder
        The model folder.
    about
        The contents of ``model.json``.
    """
    for name in (CARD, CITATION):
        template = TEMPLATES.get_template(f"{name}.jinja")
        write_text(folder / name, template.render(about=about, model=about["folds"][0]["backbone"]))
    zenodo = {
        "title": f"{about['name']}: fold models, {about['model_id']}",
        "description": "Networks that tell {positive} from {negative}.".format(**about["classes"]),
        "upload_type": "other",
        "license": "BSD-3-Clause",
        "keywords": ["astronomy", "galaxies", "deep learning"],
    }
    write_text(folder / ZENODO, json.dumps(zenodo, indent=1) + "\n")
