"""Image files in a folder or in tar files; the id of an object is the path of its file without the ending."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergerexp.data.sources.folder.listing import IMAGE_SUFFIXES
from mergerexp.errors import UserError, describe
from mergerexp.hashing import digest
from mergerexp.survey.inputs import Item
from mergerexp.survey.statuses import Status


class ImageFolder:
    """All JPEG and PNG files below a folder, in the order of their paths.

    Parameters
    ----------
    root
        The folder.
    id_system
        The name of the system of the ids.

    Raises
    ------
    UserError
        If there is no image.
    """

    def __init__(self, root: Path, id_system: str) -> None:
        self.root, self.id_system = root, id_system
        paths = (path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        self._files = sorted(path.relative_to(root).as_posix() for path in paths if path.is_file())
        if not self._files:
            raise UserError(f"images={root}: no {', '.join(IMAGE_SUFFIXES)} in it or below it")
        self._ids, self.has_integer_ids = ids_of_files(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def identity(self) -> dict[str, Any]:
        """Return a hash of the names and sizes of the files."""
        listing = [(name, (self.root / name).stat().st_size) for name in self._files]
        return {"kind": "folder", "files": len(listing), "listing": digest(listing), "ids": self.id_system}

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        return [
            read_file(self.root / name, number)
            for name, number in zip(self._files[start:stop], self._ids[start:stop], strict=True)
        ]


class TarFiles:
    """All JPEG and PNG files in tar files, in the order that they have there.

    Parameters
    ----------
    paths
        The tar files.
    id_system
        The name of the system of the ids.

    Raises
    ------
    UserError
        If a tar file is damaged, or there is no image.
    """

    def __init__(self, paths: Sequence[Path], id_system: str) -> None:
        self.id_system, self._paths = id_system, list(paths)
        self._members: list[tuple[int, str, int, int]] = []  # tar file, name, offset and size of the data
        for number, path in enumerate(paths):
            self._members += [(number, *member) for member in _members(path)]
        if not self._members:
            raise UserError(f"images={paths[0]}: no {', '.join(IMAGE_SUFFIXES)} in it")
        self._ids, self.has_integer_ids = ids_of_files([member[1] for member in self._members])

    def __len__(self) -> int:
        return len(self._members)

    def identity(self) -> dict[str, Any]:
        """Return a hash of the names and sizes of the members."""
        listing = [(name, size) for _, name, _, size in self._members]
        return {"kind": "tar", "files": len(listing), "listing": digest(listing), "ids": self.id_system}

    def read(self, start: int, stop: int) -> Sequence[Item]:
        """Return a range of the objects, with the bytes of their files."""
        items = []
        for (number, _, offset, size), own_id in zip(
            self._members[start:stop], self._ids[start:stop], strict=True
        ):
            with self._paths[number].open("rb") as file:
                file.seek(offset)
                data = file.read(size)
            items.append(Item(own_id, data=data))
        return items


def _members(path: Path) -> list[tuple[str, int, int]]:
    if path.name.lower().endswith((".gz", ".tgz")):
        raise UserError(
            f"images={path}: a compressed tar file can't be read from the middle; unpack it to .tar"
        )
    try:
        with tarfile.open(path, "r:") as tar:
            return [
                (member.name, member.offset_data, member.size)
                for member in tar
                if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES)
            ]
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"images={path}: {describe(error)}") from error


def read_file(path: Path, own_id: int | str, ra: float = float("nan"), dec: float = float("nan")) -> Item:
    """Return an object with the bytes of its file, or the reason why these can't be had."""
    try:
        return Item(own_id, ra, dec, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Item(own_id, ra, dec, status=Status.NO_IMAGE, reason="no such file")
    except (OSError, ValueError) as error:
        return Item(own_id, ra, dec, status=Status.UNREADABLE, reason=describe(error))


def ids_of_files(names: Sequence[str]) -> tuple[list[int | str], bool]:
    """Return the ids of files, and whether they are integers, which they are if all names are."""
    stems = [name.rpartition(".")[0] for name in names]
    plain = [stem.rpartition("/")[2] for stem in stems]
    if all(is_int64(text) for text in plain) and len(set(plain)) == len(plain):
        return [int(text) for text in plain], True
    return list(stems), False


def is_int64(text: str) -> bool:
    """Tell whether a text is an integer of 64 bits in its usual form, so that nothing of it is lost."""
    return text.isascii() and text.lstrip("-").isdigit() and str(int(text)) == text and abs(int(text)) < 2**63
