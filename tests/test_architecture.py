"""Who may import whom (the layout in the README holds because this does)."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mergerexp"


def imports(folder: str) -> set[str]:
    """Every module that the files of a package import, at their top or inside functions."""
    found: set[str] = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


def test_analysis_is_a_library_in_its_own_right():
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "pandas"}
    for name in imports("analysis"):
        assert name.split(".")[0] in allowed or name.startswith("mergerexp.analysis"), name


def test_data_and_config_know_no_models():
    for folder in ("data", "config"):
        for name in imports(folder):
            assert not name.startswith(("mergerexp.training", "mergerexp.tracking", "timm")), name
            assert not name.startswith("mergerexp.models") or name == "mergerexp.models.weights", name


@pytest.mark.parametrize(
    "module",
    [
        "train",
        "prepare",
        "aggregate",
        "robustness",
        "status",
        "sweep.train_sweep",
        "sweep.hydra_task",
        "config.app",
        "report.run_table",
    ],
)
def test_no_torch_at_the_top(module):
    """Composing and checking a sweep on a login node takes seconds."""
    script = f"import sys, mergerexp.{module}; print({{'torch', 'mlflow', 'timm'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_only_some_runs_need_is_imported_by_them():
    """Networks do without statmorph, which takes seconds to import, and rules without scikit-learn."""
    for path in PACKAGE.rglob("*.py"):
        at_the_top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        for node in at_the_top:
            assert not (node.module or "").startswith(("statmorph", "sklearn", "astropy")), path


def test_files_and_functions_stay_short():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert lines <= 50, f"{path}: {node.name} has {lines} lines"


def test_every_verb_is_thin():
    for verb in ("train", "prepare", "aggregate", "robustness", "status"):
        assert (PACKAGE / f"{verb}.py").read_text().count("\n") <= 120


@pytest.mark.slow
def test_a_study_can_be_aggregated_without_torch():
    """The base installation has none: a laptop against a cluster's server."""
    script = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "timm", "pytorch_lightning", "safetensors", "sklearn"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import mergerexp.report.study_folder, mergerexp.report.examples, mergerexp.tracking.study
import mergerexp.aggregate, mergerexp.robustness, mergerexp.status, mergerexp.train
"""
    subprocess.run([sys.executable, "-c", script], check=True)
