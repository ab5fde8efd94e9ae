"""A data set on disk, which is a folder of three files with their hashes.

``images.npy``
    The images, uint8, shape (N, H, W, 3), C order, RGB, which are memory-mapped.
``catalogue.parquet``
    One row for each image: ``objid`` (int64, unique), ``label`` (int8; 1 is the rare class), ``group``
    (int64; objects of one group are always in the same fold), and further columns of the source.
``dataset.json``
    The name, the source and its recipe, the class names, the counts, the size, the content hash, the
    software, and the SHA-256 of each other file. The catalogue is compared with its hash whenever it is read,
    and the images once in a sweep (`verify`).
``problems.csv``
    The file and the reason of each input that was skipped, if there are any.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.data.sources import Problem
from mergerexp.errors import DataError, UserError, describe
from mergerexp.files import read_json, write_json, written, written_folder
from mergerexp.frames import safe_csv_text
from mergerexp.seals import FILES, check_listed, digests, stamp
from mergerexp.software import versions_of

IMAGES, CATALOGUE, META, PROBLEMS = "images.npy", "catalogue.parquet", "dataset.json", "problems.csv"
COLUMN_TYPES = {"objid": np.int64, "label": np.int8, "group": np.int64}
META_KEYS = {
    "name",
    "content_hash",
    "source",
    "recipe",
    "size",
    "class_names",
    "counts",
    "problems",
    "software",
    FILES,
}
SOFTWARE = ("mergerexp", "numpy", "pandas", "pillow", "pyarrow")  # what pixels and files depend on
AGAIN = "remove the folder and prepare it again"


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened data set, whose files fit together, as `Dataset.open` checks.

    Attributes
    ----------
    path
        The folder of the data set.
    images
        The images, uint8, shape (N, size, size, 3), memory-mapped and read-only.
    catalogue
        The catalogue, with one row for each image.
    meta
        The contents of ``dataset.json``.
    """

    path: Path
    images: NDArray[np.uint8]
    catalogue: pd.DataFrame
    meta: dict[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Dataset:
        """Open a data set without reading its images.

        Raises
        ------
        DataError
            If a file is missing or broken, or the files disagree.
        """
        folder = Path(path)
        for name in (META, IMAGES, CATALOGUE):
            if not (folder / name).is_file():
                raise DataError(f"no data set in {folder}: {name} is missing; run mergerexp.prepare")
        meta = _read_meta(folder / META)
        images = _read_images(folder / IMAGES, meta["size"])
        catalogue = _read_catalogue(folder / CATALOGUE, meta)
        if len(images) != len(catalogue):
            raise DataError(
                f"{folder}: {IMAGES} has {len(images)} images but {CATALOGUE} {len(catalogue)} rows; {AGAIN}"
            )
        return cls(folder, images, catalogue, meta)

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def content_hash(self) -> str:
        """The SHA-256 of shape, images, objids, labels and groups, which is the same on every machine."""
        return str(self.meta["content_hash"])

    @property
    def class_names(self) -> tuple[str, str]:
        """The names of the classes of label 0 and label 1."""
        negative, positive = self.meta["class_names"]
        return negative, positive

    @property
    def labels(self) -> NDArray[np.int8]:
        """The label of each image, shape (N,)."""
        return self.catalogue["label"].to_numpy()

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of each image, shape (N,)."""
        return self.catalogue["group"].to_numpy()

    @property
    def objids(self) -> NDArray[np.int64]:
        """The objid of each image, shape (N,)."""
        return self.catalogue["objid"].to_numpy()

    def rows_of(self, objids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of some objects, shape (n,).

        Raises
        ------
        DataError
            If an object is not in the data set.
        """
        rows = pd.Index(self.objids).get_indexer(pd.Index(objids)).astype(np.int64)
        if (rows < 0).any():
            raise DataError(f"{self.path} has no object {objids[rows < 0][0]}")
        return rows


def find_dataset(root: Path, content_hash: str, name: str) -> Dataset:
    """Open the data set that has a content hash, whatever its folder is called.

    Parameters
    ----------
    root
        The folder of data sets.
    content_hash
        The `Dataset.content_hash` of the data set.
    name
        The name that the data set had when it was used, for the error message.

    Raises
    ------
    DataError
        If there is no such data set. The message names the data sets that are damaged, which are otherwise
        ignored.
    """
    damaged = []
    for path in sorted(root.glob(f"[!.]*/{META}")):
        try:
            found = _read_meta(path)["content_hash"]
        except (DataError, OSError) as error:
            damaged.append(str(error))
            continue
        if found == content_hash:
            return Dataset.open(path.parent)
    raise DataError(
        f"data set {name} of content {content_hash[:12]} is not in {root} (paths.datasets); "
        "mergerexp.prepare with the run's data settings, as in its config.yaml, makes it"
        + "".join(f"\nIt may be this one: {reason}" for reason in damaged)
    )


def verify(dataset: Dataset, known: Mapping[str, Sequence[int]] | None = None) -> dict[str, list[int]]:
    """Read all files of a data set and compare them with their hashes.

    Parameters
    ----------
    dataset
        The opened data set, whose catalogue has been compared already.
    known
        The result of an earlier call, in this process or another; files that have not changed since then are
        not read.

    Returns
    -------
    dict
        The size (bytes), the time of modification (ns) and the inode of each file.

    Raises
    ------
    DataError
        If a file was changed since the data set was made.
    """
    listed = dataset.meta[FILES]
    touched = {name: stamp(dataset.path / name) for name in listed if (dataset.path / name).is_file()}
    unread = [name for name in listed if known is None or touched.get(name) != list(known.get(name, []))]
    _check(dataset.path, listed, unread)
    return touched


def _check(folder: Path, listed: Mapping[str, str], names: Iterable[str]) -> None:
    try:
        check_listed(folder, listed, names)
    except UserError as error:
        raise DataError(f"{error}; {AGAIN}") from error


def save(
    path: Path,
    blocks: Iterable[NDArray[np.uint8]],
    catalogue: pd.DataFrame,
    *,
    name: str,
    source: str,
    recipe: dict[str, Any],
    size: int,
    class_names: Sequence[str],
    problems: Sequence[Problem] = (),
) -> None:
    """Write a data set into a hidden folder beside its path, and rename the folder then.

    Parameters
    ----------
    path
        The folder to make, which must not exist.
    blocks
        The images in the order of the catalogue, in blocks of shape (n, size, size, 3).
    catalogue
        One row for each image, with the columns objid, label, group and any others.
    name
        The name of the data set.
    source
        The name of the source.
    recipe
        The recipe of the source.
    size
        The side of the images in pixels.
    class_names
        The names of label 0 and label 1.
    problems
        The inputs that were skipped.
    """
    catalogue = catalogue.astype(COLUMN_TYPES)
    shape = (len(catalogue), size, size, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_folder(path) as temporary:
        with (temporary / IMAGES).open("wb") as file:
            content_hash = _content_hash(shape, _written(file, shape, blocks), catalogue)
        catalogue.to_parquet(temporary / CATALOGUE, index=False)
        if problems:
            write_problems(temporary / PROBLEMS, problems)
        counts = np.bincount(catalogue["label"], minlength=2).tolist()
        meta = {
            "name": name,
            "content_hash": content_hash,
            "source": source,
            "recipe": recipe,
            "size": size,
            "class_names": list(class_names),
            "counts": dict(zip(class_names, counts, strict=True)),
            "problems": len(problems),
            "software": versions_of(SOFTWARE),
            FILES: digests(temporary, [IMAGES, CATALOGUE, *([PROBLEMS] if problems else [])]),
        }
        write_json(temporary / META, meta)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write a CSV with the file and the reason of each problem."""
    cells = [[safe_csv_text(text) for text in problem] for problem in problems]
    table = pd.DataFrame(cells, columns=Problem._fields, dtype=object)
    with written(path) as partial:
        # Names of files may hold bytes that are not UTF-8, which are shown escaped.
        table.to_csv(partial, index=False, lineterminator="\r\n", errors="backslashreplace")


def _written(
    file: BinaryIO, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Write an npy file block by block, and yield each block."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        contiguous = np.ascontiguousarray(block)
        file.write(contiguous.data)
        yield contiguous


def _content_hash(shape: Sequence[int], blocks: Iterable[NDArray[np.uint8]], catalogue: pd.DataFrame) -> str:
    digest = hashlib.sha256(json.dumps(list(shape)).encode())
    n = 0
    for block in blocks:
        digest.update(block.data)
        n += len(block)
    if n != shape[0]:
        raise DataError(f"there are {n} images for {shape[0]} rows of the catalogue")
    for column in COLUMN_TYPES:
        digest.update(catalogue[column].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = read_json(path)
    except UserError as error:
        raise DataError(f"{error}; {AGAIN}") from error
    missing = META_KEYS - set(meta) if isinstance(meta, dict) else META_KEYS
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}; {AGAIN}")
    return dict(meta)


def _read_images(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header is parsed as Python, and claims sizes beyond any memory
        raise DataError(f"{path} is broken ({describe(error)}); {AGAIN}") from error
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3) or not images.flags.c_contiguous:
        raise DataError(
            f"{path} holds {images.dtype} {images.shape}, not uint8 [N, {size}, {size}, 3] in C order; "
            f"{AGAIN}"
        )
    return images  # type: ignore[no-any-return]


def _read_catalogue(path: Path, meta: dict[str, Any]) -> pd.DataFrame:
    _check(path.parent, meta[FILES], [CATALOGUE])
    try:
        catalogue = pd.read_parquet(path)
    except Exception as error:  # Arrow's exceptions have no common base
        raise DataError(f"{path} is broken ({describe(error)}); {AGAIN}") from error
    for column, kind in COLUMN_TYPES.items():
        if column not in catalogue or catalogue[column].dtype != kind:
            raise DataError(f"{path} needs a column {column} of type {np.dtype(kind)}; {AGAIN}")
    if not catalogue["objid"].is_unique:
        repeated = catalogue.loc[catalogue["objid"].duplicated(), "objid"].iloc[0]
        raise DataError(f"{path}: objid {repeated} occurs more than once; {AGAIN}")
    counts = {
        name: int((catalogue["label"] == label).sum()) for label, name in enumerate(meta["class_names"])
    }
    if counts != meta["counts"] or sum(counts.values()) != len(catalogue):
        raise DataError(
            f"{path} has {len(catalogue)} rows, of which {counts}, but {META} says {meta['counts']}; {AGAIN}"
        )
    return catalogue
