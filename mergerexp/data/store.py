"""A data set on disk: a folder of three files, memory-mapped, and sealed with a content hash.

``images.npy``
    uint8 [N, H, W, 3], C order, RGB.
``catalogue.parquet``
    One row an image: ``objid`` (int64, unique), ``label`` (int8; 1 is the rare class), ``group`` (int64;
    objects of one group never straddle folds), then whatever the source knows.
``dataset.json``
    name, source and its recipe, class names, counts, size, content hash, software.
``problems.csv``
    Only if inputs were skipped: file, reason.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.data.sources import Problem
from mergerexp.errors import DataError

IMAGES, CATALOGUE, META = "images.npy", "catalogue.parquet", "dataset.json"
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
}
HASH_BYTES = 1 << 26  # read this much at a time when verifying


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened data set; `Dataset.open` checks that its files fit together.

    Attributes
    ----------
    path
        Its folder.
    images
        uint8, shape (N, size, size, 3), memory-mapped read-only.
    catalogue
        One row an image.
    meta
        Contents of ``dataset.json``.
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
                f"{folder}: {IMAGES} has {len(images)} images but {CATALOGUE} {len(catalogue)} rows; "
                "remove the folder and prepare it again"
            )
        return cls(folder, images, catalogue, meta)

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def content_hash(self) -> str:
        """SHA-256 of shape, images, objids, labels and groups; the same wherever it was made."""
        return str(self.meta["content_hash"])

    @property
    def class_names(self) -> tuple[str, str]:
        """What labels 0 and 1 stand for."""
        negative, positive = self.meta["class_names"]
        return negative, positive

    @property
    def labels(self) -> NDArray[np.int8]:
        """Label of each image, shape (N,)."""
        return self.catalogue["label"].to_numpy()

    @property
    def groups(self) -> NDArray[np.int64]:
        """Group of each image, shape (N,)."""
        return self.catalogue["group"].to_numpy()

    @property
    def objids(self) -> NDArray[np.int64]:
        """Identifier of each image, shape (N,)."""
        return self.catalogue["objid"].to_numpy()

    def rows_of(self, objids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of some objects, shape (n,).

        Raises
        ------
        DataError
            If one is not in the data set.
        """
        rows = pd.Index(self.objids).get_indexer(pd.Index(objids)).astype(np.int64)
        if (rows < 0).any():
            raise DataError(f"{self.path} has no object {objids[rows < 0][0]}")
        return rows


def find_dataset(root: Path, content_hash: str, name: str) -> Dataset:
    """Open the data set of a content, whatever its folder is called.

    Parameters
    ----------
    root
        Folder of data sets.
    content_hash
        As `Dataset.content_hash`.
    name
        What it was called when it was used, for the error.

    Raises
    ------
    DataError
        If it is not there; other data sets that are damaged do not matter, but are named then.
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


def verify(path: str | os.PathLike[str]) -> None:
    """Read all of a data set and compare it with its content hash.

    Raises
    ------
    DataError
        If it cannot be opened, or was changed since it was made.
    """
    dataset = Dataset.open(path)
    images = dataset.images
    step = max(1, HASH_BYTES // images[0].nbytes)
    blocks = (images[start : start + step] for start in range(0, len(images), step))
    found = _content_hash(images.shape, blocks, dataset.catalogue)
    if found != dataset.content_hash:
        raise DataError(
            f"{path} was changed since it was made: content hash {found[:12]}…, "
            f"{META} says {dataset.content_hash[:12]}…; remove the folder and prepare it again"
        )


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
    """Write a data set into a hidden folder beside `path`, then rename it.

    Parameters
    ----------
    path
        The folder to make; it must not exist.
    blocks
        Images in the order of the catalogue, each block of shape (n, size, size, 3).
    catalogue
        One row an image, with the columns objid, label, group and any others.
    name, source, recipe, size, class_names, problems
        What ``dataset.json`` records; `problems` are the inputs that were skipped.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    catalogue = catalogue.astype(COLUMN_TYPES)
    shape = (len(catalogue), size, size, 3)
    with (temporary / IMAGES).open("wb") as file:
        content_hash = _content_hash(shape, _written(file, shape, blocks), catalogue)
    catalogue.to_parquet(temporary / CATALOGUE, index=False)
    if problems:
        write_problems(temporary / "problems.csv", problems)
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
        "software": _software(),
    }
    (temporary / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.rename(path)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write a CSV of file and reason, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.tmp")
    # Names of files may hold bytes that are no UTF-8; show them rather than fail.
    with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "reason"])
        writer.writerows((problem.file, problem.reason) for problem in problems)
    temporary.replace(path)


def _written(
    file: BinaryIO, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    """Write an npy file block by block, passing each on."""
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
        raise DataError(f"{n} images came for {shape[0]} rows of the catalogue")
    for column in COLUMN_TYPES:
        digest.update(catalogue[column].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); prepare the data set again") from error
    missing = META_KEYS - set(meta) if isinstance(meta, dict) else META_KEYS
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}; prepare the data set again")
    return dict(meta)


def _read_images(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is broken ({error}); prepare the data set again") from error
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3) or not images.flags.c_contiguous:
        raise DataError(
            f"{path} holds {images.dtype} {images.shape}, not uint8 [N, {size}, {size}, 3] in C order; "
            "prepare the data set again"
        )
    return images  # type: ignore[no-any-return]


def _read_catalogue(path: Path, meta: dict[str, Any]) -> pd.DataFrame:
    try:
        catalogue = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is broken ({error}); prepare the data set again") from error
    for column, kind in COLUMN_TYPES.items():
        if column not in catalogue or catalogue[column].dtype != kind:
            raise DataError(f"{path} needs a column {column} of type {np.dtype(kind)}; prepare it again")
    if not catalogue["objid"].is_unique:
        repeated = catalogue.loc[catalogue["objid"].duplicated(), "objid"].iloc[0]
        raise DataError(f"{path}: objid {repeated} occurs more than once; prepare the data set again")
    counts = {
        name: int((catalogue["label"] == label).sum()) for label, name in enumerate(meta["class_names"])
    }
    if counts != meta["counts"] or sum(counts.values()) != len(catalogue):
        raise DataError(
            f"{path} has {len(catalogue)} rows, of which {counts}, but {META} says {meta['counts']}; "
            "prepare the data set again"
        )
    return catalogue


def _software() -> dict[str, str]:
    """Versions of what decides pixels and files."""
    versions = {"python": platform.python_version()}
    for package in ("mergerexp", "numpy", "pandas", "pillow", "pyarrow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            versions[package] = "unknown"
    return versions
