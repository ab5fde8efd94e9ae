"""Verbs, workers and jobs search rarely for objects that only refer to each other."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from mergerexp.garbage import RARELY, collect_rarely
from mergerexp.workers import worker_pool

# The first function that is registered is called last, once nothing is left to be searched.
PROGRAM = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_threshold(), len(gc.get_objects()) < 1000, file=sys.stderr))
from mergerexp.{verb} import main
sys.argv = ["mergerexp.{verb}", "--help"]
sys.exit(main())
"""


@pytest.mark.parametrize("verb", ["aggregate", "status"])
def test_a_verb_leaves_nothing_to_search_at_its_end(verb):
    code = PROGRAM.format(verb=verb)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == f"{RARELY} True"


@pytest.mark.parametrize("preload", [None, "colorsys"])
def test_workers_search_rarely(preload):
    with worker_pool(1, "cores", preload=preload) as pool:
        assert pool.submit(gc.get_threshold).result() == RARELY
        assert pool.submit(gc.get_freeze_count).result() > 1000


def _frozen_by_a_second_call() -> int:
    before = gc.get_freeze_count()
    collect_rarely()
    return gc.get_freeze_count() - before


def test_what_a_process_makes_later_can_still_be_searched():
    with worker_pool(1, "cores") as pool:
        assert pool.submit(_frozen_by_a_second_call).result() == 0
