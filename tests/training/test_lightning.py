"""What a run imports: nothing that takes long and is not needed, and nothing that is not what it seems."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import mergerexp.training.run
assert not {"mlflow", "matplotlib", "scipy.signal", "scipy.stats", "sklearn"} & sys.modules.keys()
ours = sys.modules["mergerexp.training.lightning"]
holds = lambda module: any(it is ours.Placeholder for it in vars(module).values())
placed = {name for name, module in sys.modules.items() if module is not ours and holds(module)}
assert {name.partition(".")[0] for name in placed} == {"torchmetrics"}, placed
import matplotlib.pyplot, numpy, scipy.signal, torch, torchmetrics
assert scipy.signal.medfilt([0.0, 3.0, 0.0]).tolist() == [0.0, 0.0, 0.0]
matplotlib.use("agg")
matplotlib.pyplot.figure().savefig(sys.argv[1])
metric = torchmetrics.MeanMetric()
metric.update(torch.tensor([1.0, 2.0]))
assert metric.compute() == 1.5
"""

# Another version of torchmetrics, which needs more of Matplotlib than there is in its place.
OTHER_VERSION = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torchmetrics.metric":
            from matplotlib.figure import Figure
sys.meta_path.insert(0, Finder())
from mergerexp.training.lightning import Placeholder, pl
assert sys.modules["matplotlib.figure"].Figure is not Placeholder
assert issubclass(pl.Trainer, object) and "scipy.signal" in sys.modules
import torchmetrics.utilities.plot
assert torchmetrics.utilities.plot.plt is sys.modules["matplotlib.pyplot"]
"""


@pytest.mark.slow
def test_another_torchmetrics_gets_what_it_needs():
    done = subprocess.run([sys.executable, "-c", OTHER_VERSION], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_run_imports_only_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "empty.png"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "empty.png").stat().st_size > 0
