"""Damage many stored files of each kind, see what their readers do, and time the checks.

``python -m benchmarks.fuzz_files [--times 200] [--seed 0]`` has to be given in the root of the repository.
`tests.fuzz.at_rest` explains the columns. The exit code is 1 if a reader hangs or fails with a traceback, or
uses a damaged file that has a hash without reporting the damage.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mergerexp.data.store import Dataset, save, verify
from mergerexp.files import read_json, write_json
from mergerexp.runs import run_folder
from mergerexp.runs.provenance import check_copy
from mergerexp.seals import sha256, sign
from mergerexp.sweep.snapshot import snapshot
from tests.fuzz.at_rest import NO_CHECKSUM, OUTCOMES, all_kinds, fuzz
from tests.studies import add_run


def damage(root: Path, times: int, seed: int) -> bool:
    """Damage files of each kind, and print a row for each kind and every case that is not as it should be.

    Parameters
    ----------
    root
        An empty folder.
    times
        The number of damaged files of each kind.
    seed
        The seed of the damage.

    Returns
    -------
    bool
        Whether all cases are as they should be.
    """
    good = True
    print(f"{'file':32}" + "".join(f"{name:>11}" for name in OUTCOMES))
    for number, kind in enumerate(all_kinds(root)):
        counts: Counter[str] = Counter()
        remaining: Counter[str] = Counter()
        for result, how, details in fuzz(kind, times, seed + number):
            counts[result] += 1
            if result not in ("named", "harmless"):
                remaining[f"{result}: {how.split()[0]} {details[:120]}"] += 1
        print(f"{kind.name:32}" + "".join(f"{counts[name]:11}" for name in OUTCOMES), flush=True)
        for what, n in remaining.most_common(8):
            print(f"    {n} x {what}")
        if kind.name in NO_CHECKSUM:
            print(f"    {NO_CHECKSUM[kind.name]}")
        bad = counts["traceback"] + counts["hang"]
        if kind.name not in NO_CHECKSUM:
            bad += counts["silent"] + counts["unnamed"]
        good = good and not bad
    return good


def seconds(do: Callable[[], object], times: int = 5) -> float:
    """Return the shortest time of several calls of a function, in seconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        do()
        taken.append(time.perf_counter() - started)
    return min(taken)


def costs(root: Path) -> None:
    """Print how long the checks take, for files in an empty folder."""
    n, side = 6500, 128  # as in the default data set
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    catalogue = pd.DataFrame({"objid": np.arange(n), "label": np.arange(n) % 2, "group": np.arange(n)})
    about = {"name": "large", "source": "Toy", "recipe": {}, "class_names": ("plain", "odd")}
    save(root / "large", [images], catalogue, size=side, **about)  # type: ignore[arg-type]
    dataset = Dataset.open(root / "large")
    known = verify(dataset)
    gigabytes = images.nbytes / 1e9
    full = seconds(lambda: verify(dataset))
    print(f"images.npy, once a sweep: {full:.2f} s for {gigabytes:.2f} GB, {full / gigabytes:.2f} s/GB")
    print(f"  in each job, files untouched: {1e3 * seconds(lambda: verify(dataset, known)):.2f} ms")

    (root / "cost").mkdir()
    folder = add_run(root / "cost")
    (folder.path / "model.safetensors").write_bytes(np.random.default_rng(1).bytes(13_600_000))
    seal = seconds(folder.seal)

    def results() -> None:
        run_folder._check_results.cache_clear()
        assert folder.is_done()

    print(f"a finished run with 13.6 MB of weights: sealed in {1e3 * seal:.1f} ms, ", end="")
    print(f"checked in {1e3 * seconds(results):.1f} ms, again in the same process ", end="")
    print(f"{1e3 * seconds(folder.is_done):.2f} ms")

    checkpoint = root / "last.ckpt"
    # A checkpoint has the weights, two moments of the optimizer and the best weights.
    torch.save({"weights": torch.randn(13_600_000)}, checkpoint)
    size = checkpoint.stat().st_size / 1e6
    print(f"last.ckpt of {size:.0f} MB: {1e3 * seconds(lambda: sign(checkpoint), 3):.1f} ms at each epoch")

    note = root / "status.json"
    content = {"state": "running", "epoch": 3, "updated": time.time(), "host": "node", "pid": 12345}
    print(f"a JSON file: written in {1e3 * seconds(lambda: write_json(note, content)):.2f} ms, ", end="")
    print(f"read in {1e3 * seconds(lambda: read_json(note)):.3f} ms")

    copy = snapshot(root / "sweeps")
    print(f"the copy of the code: compared in {1e3 * seconds(lambda: check_copy(copy)):.1f} ms")
    print(f"SHA-256 here: {seconds(lambda: sha256(root / 'large' / 'images.npy'), 3) / gigabytes:.2f} s/GB")


def main() -> int:
    """Damage files and time the checks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="damaged files of each kind")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = damage(Path(folder) / "fuzz", options.times, options.seed)
        costs(Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
