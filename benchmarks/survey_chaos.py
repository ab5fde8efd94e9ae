"""Rate a survey under all kinds of faults, and compare its files with those of an undisturbed process.

    launchers/slurm_sandbox/start.sh && . /tmp/slurm-sandbox/env.sh
    python benchmarks/survey_chaos.py MODEL_FOLDER FOLDER_OF_IMAGES --kills 10 --faults 12

A process is killed again and again, and then shards on Slurm are struck as `benchmarks/chaos.py` strikes
runs. Every file of the catalogue has to be equal to the byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos import Faults, Sweep, on_slurm, say

SUFFIXES = (".jpg", ".jpeg", ".png")


class Shards(Sweep):
    """The shards of a survey, which the faults disturb."""

    statuses = "surveys/*/shards/*/status.json"


def catalogue(images: Path, copies: int, path: Path) -> None:
    """Write a catalogue that lists every image several times, under other ids."""
    files = sorted(file for file in images.rglob("*") if file.suffix.lower() in SUFFIXES)
    rows = [f"{number},{file}" for number, file in enumerate(files * copies)]
    path.write_text("\n".join(["objid,file", *rows]) + "\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a rated survey: its parts, the catalogue and the summary."""
    files = [*folder.glob("*.*"), *(folder / "parts").glob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


def difference(expected: dict[str, bytes], found: dict[str, bytes]) -> str:
    """Return which files are not the same; empty if all are."""
    names = sorted(expected.keys() | found.keys())
    apart = [name for name in names if expected.get(name) != found.get(name)]
    return f"DIFFERENT: {', '.join(apart)}" if apart else ""


def rate_and_kill(line: list[str], root: Path, kills: int, rng: random.Random) -> int:
    """Rate in one process that is killed within a second after its first part; return how often it was."""
    environment, struck = {**os.environ, "MERGEREXP_ROOT": str(root)}, 0

    def parts() -> int:
        return len(list(root.glob("surveys/*/parts/*.parquet")))

    while True:
        before, silent = parts(), subprocess.DEVNULL
        process = subprocess.Popen(line, env=environment, stdout=silent, stderr=silent)
        while struck < kills and process.poll() is None and parts() == before:
            time.sleep(0.05)
        if struck < kills and process.poll() is None:
            time.sleep(rng.uniform(0, 1))
            process.kill()
        if process.wait() == 0:
            return struck
        assert process.returncode == -signal.SIGKILL, process.returncode
        struck += 1


def rate_under_faults(line: list[str], root: Path, n_faults: int, rng: random.Random, every_s: float) -> str:
    """Rate on Slurm under faults; return what they were."""
    shards = Shards([*line, *on_slurm()], root, root / "log.txt")
    faults = Faults(shards, rng, lambda: None)
    faults.kinds = tuple(kind for kind in faults.kinds if kind != "server")  # nothing is sent to MLflow
    while True:
        time.sleep(rng.uniform(0.5, 1.5) * every_s)
        if faults.count.total() < n_faults:
            faults.strike()
        if shards.process.poll() is not None:
            if shards.process.returncode == 0 or shards.attempts > 4:
                break
            say("the command line is given again")
            shards.start()
    return f"{faults.count.total()} faults: {dict(faults.count)}; command lines given: {shards.attempts}"


def main() -> int:
    """Print the faults, and whether any file differs."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--copies", type=int, default=2, help="rows of each image (%(default)s)")
    parser.add_argument("--shards", type=int, default=4, help="number of shards (%(default)s)")
    parser.add_argument("--kills", type=int, default=10, help="kills of the one process (%(default)s)")
    parser.add_argument("--faults", type=int, default=12, help="faults of the shards (%(default)s)")
    parser.add_argument("--every", type=float, default=6.0, help="mean seconds between faults (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (%(default)s)")
    args = parser.parse_args()
    rng, same = random.Random(args.seed), True
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        catalogue(args.images.absolute(), args.copies, root / "survey.csv")
        given = [f"model_folder={args.model.absolute()}", f"images={root / 'survey.csv'}", "any_size=true"]
        line = [sys.executable, "-m", "mergerexp.predict", *given, "part=128"]
        line += ["device=cpu", "prevalence=0.1"]
        started = time.perf_counter()
        subprocess.run(line, env={**os.environ, "MERGEREXP_ROOT": str(root / "calm")}, check=True)
        calm_s = time.perf_counter() - started
        expected = contents(root / "calm" / "surveys" / "survey")
        say(f"undisturbed: {calm_s:.0f} s, {len(expected)} files")
        if args.kills:
            struck = rate_and_kill(line, root / "killed", args.kills, rng)
            apart = difference(expected, contents(root / "killed" / "surveys" / "survey"))
            say(f"one process, {struck} kill -9: {apart or 'identical'}")
            same &= not apart
        if args.faults:
            (root / "shards").mkdir()
            shared = [*line[:3], "-m", f"shards={args.shards}", *line[3:]]
            struck_by = rate_under_faults(shared, root / "shards", args.faults, rng, args.every)
            apart = difference(expected, contents(root / "shards" / "surveys" / "survey"))
            say(f"{args.shards} shards on Slurm, {struck_by}: {apart or 'identical'}")
            same &= not apart
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
