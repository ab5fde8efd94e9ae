"""Pictures of the mergers with the highest p, for the page of a sample."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from PIL import Image

from mergerexp.archive.cutouts import UNDECODABLE
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.errors import describe
from mergerexp.populations.galaxies import Galaxies
from mergerexp.report.page.content import Thumb
from mergerexp.table_files import read_columns

log = logging.getLogger(__name__)
SIDE = 160  # pixels of a picture on the page


def pictures(cfg: SampleConfig, catalogue: Path, best: Galaxies) -> list[Thumb]:
    """Return the pictures of some galaxies, as far as their files are there.

    Parameters
    ----------
    cfg
        The settings, of which ``page.file`` names the column of files.
    catalogue
        The catalogue.
    best
        The galaxies, in the order of the pictures.
    """
    if cfg.page.file is None:
        return []
    root = Path(cfg.page.images).expanduser() if cfg.page.images else catalogue.parent
    wanted, files = set(best.id.astype(str)), dict[str, str]()
    own, column = cfg.catalogue.columns.id, cfg.page.file
    for piece in read_columns(catalogue, [], [own, column]):
        rows = zip(piece.column(own).to_pylist(), piece.column(column).to_pylist(), strict=True)
        files.update((name, file) for name, file in rows if name in wanted and file and name not in files)
    thumbs = []
    for name, p in zip(best.id.astype(str), best.p, strict=True):
        if name not in files:
            log.warning("%s has no picture: there is no file in column %r", name, column)
            continue
        try:
            thumbs.append(Thumb(_small(root / files[name]), float(p), name, 1, name))
        except UNDECODABLE as error:
            log.warning("%s has no picture: %s", name, describe(error))
    return thumbs


def _small(path: Path) -> bytes:
    """Return a picture as a small JPEG."""
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        body = io.BytesIO()
        small.save(body, "JPEG", quality=88)
        return body.getvalue()
