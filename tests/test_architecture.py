"""What import-linter's contracts in pyproject.toml, which `make lint` checks, can't see."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from mergerexp.__main__ import VERBS
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mergerexp"


@pytest.mark.parametrize(
    "module",
    [
        "train",
        "prepare",
        "aggregate",
        "robustness",
        "export",
        "predict",
        "sample",
        "status",
        "study.train_sweep",
        "sweep.hydra_task",
        "config.app",
        "study.run_table",
    ],
)
def test_no_torch_at_the_top(module):
    """Composing and checking a sweep on a login node takes seconds."""
    script = f"import sys, mergerexp.{module}; print({{'torch', 'mlflow', 'timm'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_only_some_runs_need_is_imported_by_them():
    """statmorph and astropy take seconds to import, and scikit-learn a fraction of one."""
    for path in PACKAGE.rglob("*.py"):
        at_the_top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        for node in at_the_top:
            assert not (node.module or "").startswith(("statmorph", "sklearn", "astropy")), path


@pytest.mark.parametrize("folder", ["mergerexp", "launchers", "benchmarks", "tests"])
def test_files_stay_short(folder):
    lengths = {path: path.read_text().count("\n") for path in (REPOSITORY / folder).rglob("*.py")}
    assert lengths
    too_long = {path.relative_to(REPOSITORY).as_posix() for path, lines in lengths.items() if lines > 400}
    assert too_long <= {"tests/data/test_build.py"}  # still to be split


def test_functions_stay_short():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert lines <= 50, f"{path}: {node.name} has {lines} lines"


def test_every_verb_is_thin():
    for verb in VERBS:
        assert (PACKAGE / f"{verb}.py").read_text().count("\n") <= 120


@pytest.mark.slow
def test_a_study_can_be_aggregated_without_torch():
    """The base installation has none: a laptop against a cluster's server."""
    script = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "pytorch_lightning", "safetensors"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import mergerexp.report.study_folder, mergerexp.tracking.study_artifacts
import mergerexp.aggregate, mergerexp.export, mergerexp.predict
import mergerexp.robustness, mergerexp.sample, mergerexp.status, mergerexp.train
"""
    subprocess.run([sys.executable, "-c", script], check=True)
