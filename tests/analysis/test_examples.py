"""The examples in the docstrings of the analysis."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

from tests.conftest import REPOSITORY

MODULES = sorted(path.stem for path in (REPOSITORY / "mergerexp/analysis").glob("[!_]*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run_and_every_public_function_has_one(name):
    module = importlib.import_module(f"mergerexp.analysis.{name}")
    assert doctest.testmod(module).failed == 0
    documented = {
        found.name.rsplit(".", 1)[-1]
        for found in doctest.DocTestFinder(exclude_empty=True).find(module)
        if found.examples
    }
    functions = inspect.getmembers(module, inspect.isfunction)
    public = {key for key, function in functions if function.__module__ == module.__name__ and key[0] != "_"}
    assert public <= documented
