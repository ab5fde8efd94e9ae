"""Measure mergerexp beside its peers and bare limits, which take turns, and write what was seen.

    make bench                       # all, in about 20 minutes on two cores, to bench/results.md
    make bench TIMM_TRAIN=train.py   # with the script of timm's repository, which is in no package
    python -m benchmarks.bench --only start aggregation --rounds 3

Peers are installed in environments of their own, once; one that can't be is named, and the rest goes on.
Results of other benchmarks in the folder are kept, so that an interrupted call goes on with --only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import aggregation, schechter, start, submission, survey, training
from benchmarks.bench.peers import PACKAGES, Peers
from benchmarks.bench.results import Comparison, entry, machine, read, write
from mergerexp.errors import describe

Measure = Callable[[Peers, argparse.Namespace], list[Comparison]]
# The quick ones first, so that an interruption leaves most.
BENCHMARKS: dict[str, Measure] = {
    "start": lambda peers, given: start.measure(given.rounds),
    "schechter": lambda peers, given: schechter.measure(peers, given.rounds),
    "submission": lambda peers, given: submission.measure(peers, given.rounds),
    "training": lambda peers, given: training.measure(peers, given.rounds, given.timm_train),
    "survey": lambda peers, given: survey.measure(peers, given.rounds),
    "aggregation": lambda peers, given: aggregation.measure(given.rounds),
}


def main() -> None:
    """Measure, and write the results after each benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), help="these benchmarks alone")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=Path("bench"), help="for results and environments (%(default)s)"
    )
    parser.add_argument(
        "--peer", nargs="+", default=[], metavar="NAME=PYTHON", help="environments that are there already"
    )
    parser.add_argument(
        "--timm-train", metavar="FILE", help="train.py of timm's repository, which is in no package"
    )
    given = parser.parse_args()
    known = dict(each.partition("=")[::2] for each in given.peer)
    if unknown := known.keys() - PACKAGES.keys():
        parser.error(f"--peer {', '.join(sorted(unknown))}: the peers are {', '.join(PACKAGES)}")
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: has to be at least 1")
    peers = Peers(given.folder.absolute() / "peers", known)
    failed: list[str] = []
    for name in given.only or BENCHMARKS:
        about = machine()
        started = time.perf_counter()
        try:
            comparisons = BENCHMARKS[name](peers, given)
        except (Exception, SystemExit) as error:  # one benchmark that fails must not end the others
            print(f"{name} failed: {describe(error)}", flush=True)
            failed.append(name)
            continue
        about |= {"peers": peers.versions, "seconds": round(time.perf_counter() - started)}
        write(given.folder, {**read(given.folder), name: entry(comparisons, about)})
    print(f"Results: {given.folder / 'results.md'}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
