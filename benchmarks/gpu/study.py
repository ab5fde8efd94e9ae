"""Time the complete command for a small sweep on this device, from no data set to the last run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.measure import SMALL, report


def main() -> None:
    """Train four runs on simulated galaxies, and report how long each took."""
    data = ["data=simulated_small"]
    if SMALL:
        data += ["data.simulator.n_mergers=24", "data.simulator.n_noninteracting=48"]
    sweep = ["init=imagenet,random", "fold=0,1", f"trainer.max_epochs={1 if SMALL else 10}", "tracking=none"]
    command = [sys.executable, "-m", "mergerexp.train", "-m", *data, *sweep, "hydra/launcher=local"]
    failed = 0
    for which in ("at first", "again, with all done"):
        started = time.perf_counter()
        done = subprocess.run(command, stdout=sys.stderr)
        failed |= done.returncode
        report(
            f"mergerexp.train, four runs, {which}",
            s=round(time.perf_counter() - started, 1),
            exit=done.returncode,
        )
    for folder in sorted(Path(os.environ["MERGEREXP_ROOT"], "runs").glob("*/")):
        status = json.loads((folder / "status.json").read_text())
        record = folder / "provenance.json"
        provenance = json.loads(record.read_text()) if record.is_file() else {}
        about = {key: provenance.get(key) for key in ("device", "precision")}
        outcome = {key: status.get(key) for key in ("state", "seconds", "best_accuracy", "error")}
        report(folder.name.rsplit("-", 1)[0], **outcome, **about)
    if failed:
        sys.exit("the command failed")


if __name__ == "__main__":
    main()
