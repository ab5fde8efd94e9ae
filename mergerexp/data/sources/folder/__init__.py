"""Your own images: one folder for each class, or a CSV of files and labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergerexp.config.schema import DataConfig
from mergerexp.data.sources import Source
from mergerexp.data.sources.folder.labels import Columns
from mergerexp.settings import setting


@dataclass(kw_only=True)
class Settings(DataConfig):
    """Your own images: one folder for each class, or a CSV of files and labels."""

    root: str = setting("folder of the images")
    csv: str | None = setting("CSV of files and labels, relative to data.root; null: folders are classes")
    columns: Columns
    link_roots: list[str] = setting("folders outside data.root that links and the CSV's paths may lead to")
    positive: str | None = setting(
        "name of the rare class; null: the one with fewer files, or 1 of the two classes 0 and 1"
    )
    crop: float = setting("central fraction of each image that is kept", 0.05, 1.0)
    on_error: str = setting("what to do about unusable files", choices=("stop", "skip"))

    def problem(self) -> str | None:
        """Say what the configured files lack, before anything is done; None if they are there."""
        root = Path(self.root).expanduser()
        if not root.is_dir():
            return f"root={self.root}: no such folder"
        if self.csv is not None and not (root / self.csv).is_file():
            return f"csv={self.csv}: no such file in {self.root}"
        missing = [folder for folder in self.link_roots if not Path(folder).expanduser().is_dir()]
        return f"link_roots={missing[0]}: no such folder" if missing else None


def make(settings: Settings) -> Source:
    """Return the source of the configured images."""
    from mergerexp.data.sources.folder.source import FolderSource

    return FolderSource(
        Path(settings.root).expanduser(),
        settings.size,
        csv=settings.csv,
        columns=settings.columns,
        positive=settings.positive,
        crop=settings.crop,
        on_error=settings.on_error,
        link_roots=tuple(Path(folder).expanduser() for folder in settings.link_roots),
    )
