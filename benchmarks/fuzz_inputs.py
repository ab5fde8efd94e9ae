"""Give damaged images and CSVs to `mergerexp.data.build.prepare`, and see what becomes of them.

python benchmarks/fuzz_inputs.py --images 2000 --csvs 600 --seed 0 [--real FOLDER]

named      it was refused, with a reason that names the file or the line
harmless   it was used, with the same result as the undamaged image, or as another reader of the CSV has
silent     it was used, with another result
traceback  there was an exception that is no `UserError`
hang       it took more than a minute

The exit code is 1 if there is a traceback, a hang, or a silent case of another kind of damage than those in
`VALID`. All random numbers follow from the seed. ``tests/fuzz/test_inputs.py`` is a short version of this.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.damaged_csvs import CSV_DAMAGE, FILES, table
from benchmarks.damaged_images import IMAGE_DAMAGE, is_jpeg, picture
from mergerexp.data.build import prepare
from mergerexp.data.sources.folder.source import FolderSource
from mergerexp.data.sources.folder.stamp import make_stamp
from mergerexp.data.store import Dataset
from mergerexp.errors import UserError

SIZE = 64
TIME_LIMIT = 60.0
BATCH = 100
HARMLESS_RMS = 3.0  # the largest difference from the undamaged image that counts as harmless, in grey levels
OUTCOMES = ("named", "harmless", "silent", "traceback", "hang")
# These kinds of damage may turn a JPEG into another valid one. Nobody can tell that it is damaged, since the
# format has no checksum. A PNG has one.
VALID = ("a flipped bit in the pixels", "a flipped bit in the header", "a few other bytes in the pixels")


@dataclass
class Tally:
    """The outcomes of each kind of damage.

    Attributes
    ----------
    counts
        The number of cases, by kind and outcome.
    wrong
        A line for each case that is not as it should be.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: str, detail: str = "") -> None:
        """Count a case.

        Parameters
        ----------
        kind
            The kind of damage.
        outcome
            One of `OUTCOMES`.
        detail
            What is said about the case if it is not as it should be.
        """
        self.counts[kind, outcome] += 1
        expected = kind.startswith("JPEG") and kind.removeprefix("JPEG, ") in VALID
        if outcome in ("traceback", "hang") or (outcome == "silent" and not expected):
            self.wrong.append(f"{kind}: {outcome}: {detail}")

    def table(self) -> str:
        """Return the counts as text, with a line for each kind."""
        kinds = sorted({kind for kind, _ in self.counts})
        lines = [f"{'':45}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES)]
        for kind in [*kinds, "all"]:
            numbers = [
                sum(n for (of, how), n in self.counts.items() if how == outcome and kind in (of, "all"))
                for outcome in OUTCOMES
            ]
            lines.append(f"{kind:45}" + "".join(f"{number:10}" for number in numbers))
        return "\n".join(lines)


def fuzz_images(n: int, seed: int, pool: Prepares, folder: Path, real: Sequence[Path] = ()) -> Tally:
    """Prepare damaged images in batches, each with two undamaged ones, and compare the results.

    Parameters
    ----------
    n
        The number of damaged images.
    seed
        The seed of images and damage.
    pool
        The process that prepares them.
    folder
        The folder for the images.
    real
        Files of real JPEGs; every other image is one of these.
    """
    rng, tally = random.Random(seed), Tally()
    for start in range(0, n, BATCH):
        batch: dict[str, tuple[str, bytes, bytes]] = {}
        root = folder / f"images{start}"
        for name in ("a", "b"):
            _write(root / name / "whole.png", _png(rng))
        for i in range(start, min(n, start + BATCH)):
            data = rng.choice(real).read_bytes() if real and i % 2 else picture(rng)
            form = "JPEG" if is_jpeg(data) else "PNG"
            kind = list(IMAGE_DAMAGE)[i % len(IMAGE_DAMAGE)]
            damaged = IMAGE_DAMAGE[kind](rng, data)
            name = f"{'ab'[i % 3 == 0]}/{i}.{form.lower()}".replace("jpeg", "jpg")
            _write(root / name, damaged)
            batch[name] = (f"{form}, {kind}", data, damaged)
        for name, (how, detail) in _outcomes(pool, root, batch).items():
            tally.add(batch[name][0], how, f"{name}: {detail}")
    return tally


def _outcomes(
    pool: Prepares, root: Path, batch: dict[str, tuple[str, bytes, bytes]]
) -> dict[str, tuple[str, str]]:
    """Prepare a folder, and return outcome and details of each damaged image.

    If the whole folder can't be prepared, it is prepared again with one damaged image at a time.
    """
    how, detail = pool.prepare(root, {"on_error": "skip", "positive": "a"})
    if how in ("traceback", "hang", "named"):
        if len(batch) == 1:
            return dict.fromkeys(batch, (how, detail))
        outcomes: dict[str, tuple[str, str]] = {}
        for name in batch:
            alone = root.with_name(f"{root.name}-{Path(name).stem}")
            for file in ("a/whole.png", "b/whole.png", name):
                _write(alone / file, (root / file).read_bytes())
            outcomes |= _outcomes(pool, alone, {name: batch[name]})
        return outcomes
    dataset, problems = Dataset.open(detail), dict(_problems(Path(detail)))
    rows = {file: row for row, file in enumerate(dataset.catalogue["file"])}
    outcomes = {}
    for name, (_, data, _) in batch.items():
        if name in problems and name not in rows:
            outcomes[name] = ("named" if problems[name] else "silent", problems[name])
        elif name not in rows:
            outcomes[name] = ("silent", "neither used nor named")
        else:
            expected = make_stamp(data, SIZE, 1.0)[0].astype(float)
            rms = float(np.sqrt(np.mean((dataset.images[rows[name]] - expected) ** 2)))
            outcomes[name] = (
                "harmless" if rms <= HARMLESS_RMS else "silent",
                f"off by {rms:.1f} grey levels",
            )
    return outcomes


def fuzz_csvs(n: int, seed: int, pool: Prepares, folder: Path) -> Tally:
    """Prepare damaged CSVs, and compare each catalogue with what pandas reads in the same CSV.

    Parameters
    ----------
    n
        The number of CSVs.
    seed
        The seed of images and damage.
    pool
        The process that prepares them.
    folder
        The folder for images and CSVs.
    """
    rng, tally = random.Random(seed), Tally()
    root = folder / "listed"
    for i in range(FILES):
        _write(root / f"{'ab'[i % 2]}/{i}.png", _png(rng))
    for i in range(n):
        kind = list(CSV_DAMAGE)[i % len(CSV_DAMAGE)]
        _write(root / f"{i}.csv", data := CSV_DAMAGE[kind](rng, table(rng)))
        how, detail = pool.prepare(root, {"on_error": "skip", "csv": f"{i}.csv", "positive": None})
        if how == "done":
            difference = _difference(Path(detail), root, data)
            how, detail = ("silent", difference) if difference else ("harmless", "")
        tally.add(f"CSV, {kind}", how, f"{data!r:.1500}: {detail}")
    return tally


def _difference(path: Path, root: Path, data: bytes) -> str:
    """Return how a data set differs from its CSV, as pandas reads that; nothing if the two agree."""
    dataset, problems = Dataset.open(path), _problems(path)
    try:
        read = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        return f"pandas does not read it: {error}"
    read = read.map(str.strip).rename(columns=str.strip)
    read["file"] = [os.path.relpath(os.path.normpath(root / file), root) for file in read["file"]]
    used = dataset.catalogue
    if len(used) + len(problems) != len(read):
        return f"{len(used)} rows used and {len(problems)} named, of {len(read)}"
    # Of several lines with the same file, the first is used and the others are named.
    given = read[read["file"].isin(used["file"])].drop_duplicates("file")
    if given["file"].tolist() != used["file"].tolist():
        return f"the files are {used['file'].tolist()}, not {given['file'].tolist()}"
    for i, (ours, listed) in enumerate(zip(used.to_dict("records"), given.to_dict("records"), strict=True)):
        made = dataset.class_names[ours["label"]]
        if made != listed["label"] and not _equal(made, listed["label"]):
            return f"row {i} has label {made}, not {listed['label']}"
        if "objid" in listed and ours["objid"] != int(listed["objid"]):
            return f"row {i} has objid {ours['objid']}, not {listed['objid']}"
        for name, text in listed.items():
            value = ours.get(f"csv_{name}", text)
            if name not in ("file", "label", "objid", "group") and not (value == text or _equal(value, text)):
                return f"row {i} has {name} {value!r}, not {text!r}"
        stamp = make_stamp((root / ours["file"]).read_bytes(), SIZE, 1.0)[0]
        if not np.array_equal(stamp, dataset.images[i]):
            return f"row {i} has another image than {ours['file']}"
    if "group" in given:
        listed_groups = [text.removesuffix(".0") for text in given["group"]]
        pairs = set(zip(listed_groups, used["group"], strict=True))
        if not len(pairs) == len(set(listed_groups)) == used["group"].nunique():
            return f"groups are {used['group'].tolist()}, not {listed_groups}"
    return ""


def _equal(value: Any, text: Any) -> bool:
    """Tell whether a value of a catalogue and a text are the same number, or both are missing."""
    try:
        return bool(float(value) == float(text or "nan") or (text in ("", "nan") and np.isnan(value)))
    except (TypeError, ValueError):
        return False


class Prepares:
    """A process that prepares data sets, which is replaced by a new one when it hangs.

    Parameters
    ----------
    sets
        The folder for the data sets.
    """

    def __init__(self, sets: Path) -> None:
        self.sets = sets
        self.pool: Pool | None = None

    def prepare(self, root: Path, options: dict[str, Any]) -> tuple[str, str]:
        """Prepare a data set.

        Parameters
        ----------
        root
            The folder of the images.
        options
            Further parameters of `FolderSource`.

        Returns
        -------
        tuple
            "done" and the path of the data set, or "named", "traceback" or "hang" and a message.
        """
        self.pool = self.pool or multiprocessing.get_context("spawn").Pool(1)
        try:
            return self.pool.apply_async(_prepare, (root, self.sets, options)).get(TIME_LIMIT)
        except multiprocessing.TimeoutError:
            self.close()
            return "hang", f"{TIME_LIMIT:.0f} s"

    def close(self) -> None:
        """End the process."""
        if self.pool:
            self.pool.terminate()
        self.pool = None


def _prepare(root: Path, sets: Path, options: dict[str, Any]) -> tuple[str, str]:
    try:
        return "done", str(
            prepare(FolderSource(root, SIZE, **options), "fuzz", SIZE, sets, 1, progress=False)
        )
    except UserError as error:
        return "named", str(error)
    except Exception:
        return "traceback", traceback.format_exc()


def _problems(path: Path) -> list[tuple[str, str]]:
    """Return file and reason for each input that was left out of a data set."""
    file = path / "problems.csv"
    if not file.exists():
        return []
    return [
        (row["file"], row["reason"]) for row in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    ]


def _png(rng: random.Random) -> bytes:
    while not (data := picture(rng)).startswith(b"\x89PNG"):
        pass
    return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> int:
    """Print a table of outcomes, and every case that is not as it should be; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="number of images (%(default)s)")
    parser.add_argument("--csvs", type=int, default=600, help="number of CSVs (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of files and damage (%(default)s)")
    parser.add_argument("--real", type=Path, help="folder of JPEGs, from which every other image is taken")
    args = parser.parse_args()
    real = sorted(args.real.rglob("*.jpg")) if args.real else []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        pool = Prepares(Path(folder) / "sets")
        for name, fuzz in (
            ("images", lambda: fuzz_images(args.images, args.seed, pool, Path(folder), real)),
            ("CSVs", lambda: fuzz_csvs(args.csvs, args.seed, pool, Path(folder))),
        ):
            start = time.perf_counter()
            tally = fuzz()
            n = sum(tally.counts.values())
            print(f"{n} {name}, {time.perf_counter() - start:.0f} s\n{tally.table()}\n")
            wrong += tally.wrong
        pool.close()
    print("\n".join([f"tracebacks, hangs, and silent cases that could be detected: {len(wrong)}", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
