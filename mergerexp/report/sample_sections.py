"""The sections of a merger sample's page, kept as a file so that a study's report can have them too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.errors import UserError, describe
from mergerexp.files import write_json
from mergerexp.frames import records
from mergerexp.report.page.content import FigureBlock, Item, Section, TableBlock

FILE = "sections.json"


def write_sections(sections: Sequence[Section], folder: Path) -> None:
    """Write sections of tables and figures to the folder of a sample, where the figures lie."""
    write_json(folder / FILE, {"sections": [_as_json(section, folder) for section in sections]})


def _as_json(section: Section, folder: Path) -> dict[str, Any]:
    return {
        "id": section.id,
        "title": section.title,
        "intro": section.intro,
        "items": [_item_as_json(item, folder) for item in section.items],
    }


def _item_as_json(item: Item, folder: Path) -> dict[str, Any]:
    about = {"name": item.name, "title": item.title, "caption": item.caption}
    if isinstance(item, FigureBlock):
        return {**about, "alt": item.alt, "image": item.image.relative_to(folder).as_posix()}
    assert isinstance(item, TableBlock)
    return {**about, "rows": records(item.shown), "published": item.published}


def read_sections(folder: Path) -> list[Section]:
    """Return the sections of a sample.

    Parameters
    ----------
    folder
        A folder that ``mergerexp.sample`` wrote.

    Raises
    ------
    UserError
        If it is none.
    """
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return [_section(each, folder) for each in content["sections"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"sample={folder} is no folder that mergerexp.sample wrote: {describe(error)}"
        ) from error


def _section(content: dict[str, Any], folder: Path) -> Section:
    items: list[Item] = []
    for each in content["items"]:
        about = each["name"], each["title"], each["caption"]
        if "image" in each:
            items.append(FigureBlock(*about, each["alt"], folder / each["image"]))
        else:
            items.append(TableBlock(*about, pd.DataFrame(each["rows"]), published=each["published"]))
    return Section(f"sample-{content['id']}", content["title"], content["intro"], items)
