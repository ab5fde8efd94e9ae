"""The examples in the docstrings of the analysis."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

from tests.conftest import REPOSITORY

ANALYSIS = REPOSITORY / "mergerexp/analysis"
MODULES = sorted(
    ".".join(path.relative_to(ANALYSIS).with_suffix("").parts) for path in ANALYSIS.rglob("[!_]*.py")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_and_every_public_function_has_one(name):
    module = importlib.import_module(f"mergerexp.analysis.{name}")
    assert doctest.testmod(module).failed == 0
    documented = {found.name for found in doctest.DocTestFinder().find(module) if found.examples}
    for key, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not key.startswith("_"):
            assert f"{module.__name__}.{key}" in documented
