"""What was measured: as JSON, which later runs add to, and as Markdown, which is made from it alone."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergerexp.cores import memory_gb, usable_cores
from mergerexp.files import write_text
from mergerexp.runs.provenance import git_state

OURS = "mergerexp"
LIBRARIES = ("torch", "timm", "pytorch-lightning", "mlflow", "hydra-core", "submitit", "numpy", "scipy")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass
class Comparison:
    """Ours beside others, measured turn about.

    Attributes
    ----------
    name
        The name of the benchmark, and what of it this is.
    unit
        The unit of the values. Rates, such as images/s, are better if they are higher, and times if lower.
    turns
        The values of each round, by the name of who was measured.
    goals
        How many times as fast as another ours should be, by the name of the other.
    most
        The largest value that ours should have, where it is a goal itself.
    notes
        What a reader has to know, such as why a peer is missing.
    """

    name: str
    unit: str
    turns: dict[str, list[float]]
    goals: dict[str, float] = field(default_factory=dict)
    most: float | None = None
    notes: list[str] = field(default_factory=list)

    def ratios(self, other: str) -> list[float]:
        """Return how many times as fast as another ours was in each round that has both."""
        is_rate = self.unit.endswith("/s")
        pairs = zip(self.turns[OURS], self.turns[other], strict=False)
        return [ours / theirs if is_rate else theirs / ours for ours, theirs in pairs]


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, memory, versions and code."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    known: dict[str, str] = {}
    for line in lines:  # the first processor's come first
        key, _, value = line.partition(":")
        known.setdefault(key.strip(), value.strip())
    flags = known.get("flags", "").split()
    return {
        "processor": known.get("model name", platform.processor() or platform.machine()),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": usable_cores(),
        "memory_gb": round(memory_gb(), 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "commit": git_state().get("commit"),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def write(folder: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json`` and ``results.md``, each to a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "results.md", markdown(results))


def read(folder: Path) -> dict[str, Any]:
    """Return what earlier runs measured; empty if there is nothing."""
    path = folder / "results.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def entry(comparisons: Sequence[Comparison], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a benchmark in the results."""
    return {"machine": dict(about), "comparisons": [asdict(each) for each in comparisons]}


def markdown(results: Mapping[str, Any]) -> str:
    """Return the results as a page: a table for each benchmark, with medians, extremes and ratios."""
    lines = [
        "# mergerexp beside its peers",
        "",
        "Medians (lowest to highest) of rounds in which those compared took turns. A ratio is that of one "
        "round, and above 1 where mergerexp is faster; its median is given.",
    ]
    for name, known in results.items():
        about = known["machine"]
        versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
        flags, commit = ", ".join(about["flags"]) or "no vector flags", str(about["commit"])[:10]
        lines += ["", f"## {name}", ""]
        lines += [
            f"{about['cores']} cores of {about['processor']} ({flags}), {about['memory_gb']} GB, "
            f"Python {about['python']}, {versions}; commit {commit}, {about['date']}; "
            f"load before: {about['load_before']}; it took {about.get('seconds', 0)} s. "
            f"Peers: {about.get('peers') or 'none of their own environments'}."
        ]
        for each in known["comparisons"]:
            lines += _table(Comparison(**each))
    return "\n".join(lines) + "\n"


def _table(found: Comparison) -> list[str]:
    lines = ["", f"**{found.name}**", "", f"| | {found.unit} | mergerexp is so many times as fast | goal |"]
    lines.append("|---|---|---|---|")
    for who, values in found.turns.items():
        ratio, goal = "", ""
        if who != OURS and OURS in found.turns and (ratios := found.ratios(who)):
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            if (least := found.goals.get(who)) is not None:
                goal = f"≥ {least:g}: {'reached' if statistics.median(ratios) >= least else 'missed'}"
        elif who == OURS and found.most is not None:
            reached = "reached" if statistics.median(values) <= found.most else "missed"
            goal = f"≤ {found.most:g} {found.unit}: {reached}"
        lines.append(f"| {who} | {spread(values)} | {ratio} | {goal} |")
    return [*lines, "", *(f"- {note}" for note in found.notes)]


def spread(values: Sequence[float]) -> str:
    """Return the median of some values and their extremes as text."""

    def text(value: float) -> str:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"

    middle = text(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({text(min(values))} to {text(max(values))})"
