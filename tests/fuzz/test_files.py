"""No damage at rest is used without a word. The long version: ``python -m benchmarks.fuzz_files``."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz.at_rest import NO_CHECKSUM, Kind, all_kinds, fuzz

TIMES = 12


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> list[Kind]:
    return all_kinds(tmp_path_factory.mktemp("at_rest"))


@pytest.mark.slow
def test_damage_at_rest_is_named(kinds):
    bad, named = [], Counter()
    for seed, kind in enumerate(kinds):
        for result, how, details in fuzz(kind, TIMES, seed):
            named[kind.name] += result == "named"
            told = result in ("named", "harmless")
            if not told and (result in ("traceback", "hang") or kind.name not in NO_CHECKSUM):
                bad.append((kind.name, how, result, details))
    assert not bad
    assert all(named[kind.name] > TIMES / 2 for kind in kinds if kind.name not in NO_CHECKSUM), named
