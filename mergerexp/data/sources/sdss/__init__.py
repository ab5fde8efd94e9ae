"""The paper's sample: labelled cutouts of SDSS, from the archives or from a folder that has them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mergerexp.archive.settings import ArchiveSettings
from mergerexp.data.sources import Source, folder
from mergerexp.settings import setting

SAMPLE = "sample.csv"  # of mergerexp.archive.sdss


@dataclass(kw_only=True)
class Settings(folder.Settings):
    """The paper's sample: labelled cutouts of SDSS, from the archives or from a folder that has them."""

    download: bool = setting(
        "get the sample from the archives into data.root first; what is there is not asked for again",
        identity=False,
    )
    archive: ArchiveSettings

    def problem(self) -> str | None:
        """Say what the configured files lack, before anything is done; None if they are there."""
        if self.download:
            return None
        if self.archive.frames is not None:
            return "archive.frames: cutouts are made of them with download=true alone"
        return super().problem()


def make(settings: Settings) -> Source:
    """Return the source of the sample, which is got from the archives now if that was asked for.

    Raises
    ------
    DataError
        If an archive does not answer. The same command goes on later.
    """
    root = Path(settings.root).expanduser()
    if settings.download:
        from mergerexp.archive.sdss import get_sample

        get_sample(root, settings.archive)
    listed = settings.csv or (SAMPLE if (root / SAMPLE).is_file() else None)
    return folder.make(dataclasses.replace(settings, csv=listed))
