"""The source that a ``data`` config describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mergerexp.data.sources import Source
from mergerexp.errors import DataError


def make_source(cfg_data: Any) -> Source:
    """Make the source that ``data.source`` names, and import no other.

    Raises
    ------
    DataError
        If there is no such source, or its input is unusable.
    """
    if cfg_data.source == "simulated":
        from mergerexp.data.sources.simulated import SimulatedSource

        return SimulatedSource(cfg_data.simulator, cfg_data.size)
    if cfg_data.source == "folder":
        from mergerexp.data.sources.folder import FolderSource
        from mergerexp.data.sources.labels import Columns

        columns = cfg_data.columns
        return FolderSource(
            Path(cfg_data.root).expanduser(),
            cfg_data.size,
            csv=cfg_data.csv,
            columns=Columns(columns.file, columns.label, columns.objid, columns.group),
            positive=cfg_data.positive,
            crop=cfg_data.crop,
            on_error=cfg_data.on_error,
            link_roots=tuple(Path(folder).expanduser() for folder in cfg_data.link_roots),
        )
    raise DataError(f"data.source={cfg_data.source!r} is unknown; use 'simulated' or 'folder'")
