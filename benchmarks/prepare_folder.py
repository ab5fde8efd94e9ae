"""Compare the speed of `mergerexp.data.build.prepare` with a plain Pillow loop over the same files.

python benchmarks/prepare_folder.py FOLDER --size 128 --limit 5000
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from mergerexp.data.build import prepare
from mergerexp.data.sources.folder.source import FolderSource


def plain_loop(files: list[Path], size: int) -> None:
    """Open, convert, crop and resize one file after the other in this thread.

    Parameters
    ----------
    files
        The image files.
    size
        The side of the resized images in pixels.
    """
    stamps = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for i, file in enumerate(files):
        with Image.open(file) as image:
            rgb = image.convert("RGB")
        side = min(rgb.size)
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        square = rgb.crop((left, top, left + side, top + side))
        stamps[i] = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def copied(folder: Path, limit: int, into: Path) -> list[Path]:
    """Copy some of the files, in the ratio of the classes, to another folder.

    Parameters
    ----------
    folder
        The folder with a folder of images for each class.
    limit
        The most files to copy.
    into
        The other folder.

    Returns
    -------
    list of Path
        The copies.
    """
    files = [entry.file for entry in FolderSource(folder, size=16).entries]
    chosen = files[:: max(1, -(-len(files) // limit))]
    for file in chosen:
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / file, into / file)
    return [into / file for file in chosen]


def main() -> None:
    """Print images per second of both, and the time of a second preparation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with a folder of images for each class")
    parser.add_argument("--size", type=int, default=128, help="side of the data set's images in pixels")
    parser.add_argument("--limit", type=int, default=1_000_000, help="use at most so many files")
    parser.add_argument("--workers", type=int, help="processes; default: one for each core")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = copied(args.folder, args.limit, root / "images")
        start = time.perf_counter()
        plain_loop(files, args.size)
        plain = len(files) / (time.perf_counter() - start)

        source = FolderSource(root / "images", args.size)
        start = time.perf_counter()
        source.recipe()
        listing = time.perf_counter() - start
        start = time.perf_counter()
        prepare(source, "benchmark", args.size, root, args.workers)
        ours = len(files) / (time.perf_counter() - start)
        start = time.perf_counter()
        prepare(source, "benchmark", args.size, root, args.workers)
        again = time.perf_counter() - start

    print(f"{len(files)} images to {args.size} px, {args.workers or os.cpu_count()} workers")
    print(f"plain Pillow loop, one thread  {plain:8.0f} images/s")
    print(f"prepare, start-up included     {ours:8.0f} images/s   ratio {ours / plain:.2f}")
    print(f"listing the folder             {1e3 * listing:8.1f} ms")
    print(f"prepare when already prepared  {1e3 * again:8.1f} ms")


if __name__ == "__main__":
    main()
