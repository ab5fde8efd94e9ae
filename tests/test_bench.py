"""``make bench``: nothing measured is lost, who is missing is named, and ratios point the right way."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.bench import __main__ as bench
from benchmarks.bench import peers as peers_module
from benchmarks.bench.peers import PeerMissing, Peers, run_json
from benchmarks.bench.results import OURS, Comparison, entry, markdown, read
from benchmarks.bench.turns import take_turns


def run(monkeypatch, folder, benchmarks, *arguments: str) -> None:
    monkeypatch.setattr(bench, "BENCHMARKS", benchmarks)
    monkeypatch.setattr(sys, "argv", ["bench", "--folder", str(folder), *arguments])
    bench.main()


def rates(*values: float):
    return lambda peers, given: [Comparison("rating", "images/s", {OURS: list(values), "other": [10.0]})]


def interrupted(peers, given):
    raise KeyboardInterrupt


def test_contestants_take_turns(capsys):
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    found = Comparison("a race", "s", {})
    take_turns(found, {OURS: lambda: measure("ours", 1.0), "other": lambda: measure("theirs", 2.0)}, 3)
    assert order == ["ours", "theirs"] * 3
    assert found.turns == {OURS: [1.0] * 3, "other": [2.0] * 3}


def test_one_that_fails_is_named_and_the_others_go_on(capsys):
    def fails() -> float:
        raise PeerMissing("pip can't install it")

    found = Comparison("a race", "s", {})
    take_turns(found, {"other": fails, OURS: lambda: 1.0}, 2)
    assert found.turns == {OURS: [1.0, 1.0]}
    assert found.notes == ["other was not measured: pip can't install it"]


def test_an_interruption_keeps_what_was_measured(monkeypatch, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, {"first": rates(30.0), "second": interrupted})
    assert list(read(tmp_path)) == ["first"]
    run(monkeypatch, tmp_path, {"first": interrupted, "second": rates(5.0)}, "--only", "second")
    assert list(read(tmp_path)) == ["first", "second"]
    page = (tmp_path / "results.md").read_text()
    assert page == markdown(json.loads((tmp_path / "results.json").read_text()))
    assert "| other | 10 | 3.00 (3.00 to 3.00) |" in page
    assert "| other | 10 | 0.50 (0.50 to 0.50) |" in page


def test_a_ratio_is_above_one_where_ours_is_faster():
    rate = Comparison("rating", "images/s", {OURS: [30.0, 20.0], "other": [10.0, 20.0]})
    time = Comparison("start", "s", {OURS: [1.0, 4.0], "other": [3.0, 2.0]})
    assert rate.ratios("other") == [3.0, 1.0]
    assert time.ratios("other") == [3.0, 0.5]


def test_a_page_says_what_was_compared_on_what():
    about = {
        "processor": "made up", "flags": ["avx2"], "cores": 2, "memory_gb": 8.0, "python": "3.12.1",
        "versions": {"torch": "2.0"}, "commit": "0123456789abcdef", "date": "2026-01-01", "load_before": 0.1,
    }  # fmt: skip
    found = Comparison("aggregation", "s", {OURS: [9.0, 8.0, 11.0]}, most=10.0, notes=["One was missing."])
    page = markdown({"aggregation": entry([found], about)})
    assert "2 cores of made up (avx2), 8.0 GB, Python 3.12.1, torch 2.0; commit 0123456789" in page
    assert "| mergerexp | 9 (8 to 11) |  | ≤ 10 s: reached |" in page
    assert "- One was missing." in page


def test_a_peer_that_pip_can_t_install_is_missing_and_leaves_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(peers_module.PACKAGES, "nobody", [str(tmp_path / "no-such-package")])
    with pytest.raises(PeerMissing, match="pip can't install it"):
        Peers(tmp_path).python("nobody")
    assert not (tmp_path / "nobody").exists()


def test_a_script_of_a_peer_that_fails_says_why():
    with pytest.raises(PeerMissing, match="no such thing"):
        run_json(sys.executable, "-c", "raise SystemExit('no such thing')")


def test_unknown_peers_are_refused(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, {}, "--peer", "nobody=python3")
    assert "the peers are" in capsys.readouterr().err
