"""The science of the merger sample needs numpy, scipy and pandas, and no other library."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALONE = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "torch", "astropy", "pyarrow", "matplotlib", "hydra"}:
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Refuse())
import mergerexp.analysis.%s
"""


@pytest.mark.parametrize("name", ["mass_function.choice", "colour_mass", "completeness", "purity", "sky"])
def test_it_imports_without_other_libraries(name):
    subprocess.run([sys.executable, "-c", ALONE % name], check=True)
