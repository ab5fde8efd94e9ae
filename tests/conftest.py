"""Shared pieces: a small folder of images that can be told apart, and the verbs run in this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from mergerexp.cores import wait_without_spinning
from mergerexp.files import read_json
from tests.debian import install

__all__ = ["read_json"]

wait_without_spinning()  # as the verbs do: some tests load torch before any of them
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need a model hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' own processes share the cores
for ours in ("MLFLOW_TRACKING_URI", "MERGEREXP_TRACKING"):  # no test writes to a user's server
    os.environ.pop(ours, None)

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = (
    "model.backbone=test_resnet",
    "model.pretrained=hub",
    "init=random",
    "data.size=32",
    "trainer.threads=1",
    "trainer.max_epochs=2",
    "trainer.progress=false",
)

# What `make check` leaves out, by what a test asks for.
MARKS = {
    "cluster": "slurm",
    "browser": "browser",
    "stilts": "slow",
    "train": "training",
    "placed_study": "training",
    "trained_study": "training",
    "undisturbed": "training",
    "undisturbed_run": "training",
    "users": "training",
}
# Tests on Slurm mostly wait, so that half of them has a cluster of its own, beside that of the others.
ON_THE_SECOND_CLUSTER = ("test_chaos", "test_hydra_contract", "test_submission")
# What takes so long to make that all tests which share it stay in one process.
SHARED = (
    "cluster",
    "browser",
    "study_root",
    "placed_study",
    "trained_study",
    "undisturbed",
    "bank",
    "larger_sample",
    "whole",
    "users",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have a process a core, and two more for the tests on the two Slurm clusters, which mostly wait."""
    return min(os.cpu_count() or 1, 4) + 2 * ("not slurm" not in config.option.markexpr)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what trains or needs Slurm or a browser, and keep together what is shared.

    Here, since xdist reads the groups before any ``pytest_collection_modifyitems`` of ours could set them.
    """
    fixtures: list[str] = getattr(item, "fixturenames", [])
    for mark in {MARKS[name] for name in fixtures if name in MARKS}:
        item.add_marker(mark)
    for name in SHARED:
        if name in fixtures:
            second = name == "cluster" and item.path.stem in ON_THE_SECOND_CLUSTER
            item.add_marker(pytest.mark.xdist_group(f"{name} 2" if second else name))
            break


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those tests come first that take longest, beginning with those that mostly wait."""
    order = ("slurm", "training")

    def rank(item: pytest.Item) -> int:
        return next((i for i, mark in enumerate(order) if item.get_closest_marker(mark)), len(order))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def training_is_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test train that `make check` would take for one that does not."""
    if any(request.node.get_closest_marker(mark) for mark in ("training", "slurm")):
        return

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("this test trains: mark it with @pytest.mark.training")

    start = subprocess.Popen.__init__

    def start_unless_it_trains(self: Any, args: Any, *rest: Any, **options: Any) -> None:
        if "mergerexp.train" in args and "--help" not in args:
            refuse()
        start(self, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", start_unless_it_trains)
    if lightning := sys.modules.get("pytorch_lightning"):  # to import it would take seconds
        monkeypatch.setattr(lightning.Trainer, "fit", refuse)


@pytest.fixture(scope="session")
def one_installs(tmp_path_factory: pytest.TempPathFactory) -> FileLock:
    """Return the lock to hold while Debian packages are installed: apt refuses a second process."""
    own = tmp_path_factory.getbasetemp()
    return FileLock((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "apt.lock")


@pytest.fixture(scope="session")
def stilts(one_installs: FileLock) -> None:
    """Install STILTS, the tables of TOPCAT on the command line, in Java."""
    with one_installs:
        install("STILTS", ["stilts"], ["stilts"])


@pytest.fixture(scope="session")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 double and 56 single blobs, 40 px, in two class folders."""
    root = tmp_path_factory.mktemp("galaxies")
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:40, :40]
    for name, n, blobs in (("double", 40, 2), ("single", 56, 1)):
        (root / name).mkdir()
        for i in range(n):
            light = rng.normal(20, 6, (40, 40))
            for _ in range(blobs):
                cx, cy = rng.uniform(10, 30, 2)
                light += 180 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
            pixels = np.clip(light[..., None] * (1.0, 0.9, 0.8), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{1000 * blobs + i}.png")
    return root


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data sets that all tests share."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def hydra_as_its_tests_expect() -> Iterator[None]:
    """Give Hydra's own tests the version base that they were written for."""
    from hydra import version
    from hydra.core.singleton import Singleton

    state = Singleton.get_state()
    version.setbase("1.1")
    yield
    Singleton.set_state(state)


Verb = Callable[..., int]


@pytest.fixture
def run_verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Verb:
    """Run a verb's command line in this process, below tmp_path; return its exit code."""
    monkeypatch.setenv("MERGEREXP_ROOT", str(tmp_path))

    def run(module: Any, *overrides: str) -> int:
        monkeypatch.setattr(sys, "argv", [module.__name__, *overrides])
        with pytest.raises(SystemExit) as stopped:
            module.main()
        return int(stopped.value.code or 0)

    return run


def copy_of_empty_store(file: Any) -> None:
    """Make a store as `mergerexp.tracking.store` does, but copy the tables, which take seconds to make."""
    from tests.studies import empty_store

    file.remove_side_files()
    shutil.copy(empty_store(), file.path)


@pytest.fixture
def train(run_train: Verb) -> Verb:
    """Run the train verb on the blobs with a tiny network; sweeps too are run in this process by default."""
    return run_train


@pytest.fixture
def figures() -> None:
    """Have the figures of each run drawn for MLflow, which takes longer than to train it."""


@pytest.fixture
def run_train(
    run_verb: Verb,
    galaxies: Path,
    datasets: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Verb:
    """Do what `train` and `refused` are for."""
    import mergerexp.train

    monkeypatch.setattr("mergerexp.tracking.store._make", copy_of_empty_store)
    if "figures" not in request.fixturenames:
        monkeypatch.setattr("mergerexp.tracking.record._send_figures", lambda *_: None)

    def run(*overrides: str) -> int:
        shared = (f"paths.datasets={datasets}", f"paths.weights={datasets / 'weights'}")
        data = ("data=folder", f"data.root={galaxies}", *shared)
        multirun = [flag for flag in overrides if flag == "-m"]
        rest = [override for override in overrides if override != "-m"]
        given = {override.split("=")[0] for override in rest}
        tiny = [key for key in TINY if "model" not in given or not key.startswith("model.")]
        defaults = [override for override in (*data, *tiny) if override.split("=")[0] not in given]
        here = ["hydra/launcher=basic"] if multirun and "hydra/launcher" not in given else []
        return run_verb(mergerexp.train, *multirun, *defaults, *rest, *here)

    return run


@pytest.fixture
def refused(run_train: Verb, tmp_path: Path) -> Callable[..., None]:
    """Run the train verb as ``train`` does, on a line that it must refuse before anything starts."""

    def run(*overrides: str) -> None:
        assert run_train(*overrides) == 2
        assert not (tmp_path / "runs").exists()
        assert not (tmp_path / "sweeps").exists()

    return run


@pytest.fixture(scope="session")
def study_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with an MLflow store of 24 finished runs: two arms, three sizes, four folds."""
    from tests.studies import copy_study

    root = tmp_path_factory.mktemp("study")
    copy_study(root)
    return root


@pytest.fixture(scope="session")
def small_study(study_root: Path) -> Path:
    """The folder of that study as `mergerexp.aggregate` writes it."""
    from mergerexp.config.compose import compose_cell
    from mergerexp.config.schema import AggregateConfig
    from mergerexp.report.aggregation import make_study

    overrides = [f"paths.root={study_root}", "draws=100"]
    return make_study(compose_cell("aggregate", overrides, AggregateConfig))[0].parent


@pytest.fixture
def only_run(tmp_path: Path) -> Callable[[], Path]:
    """Return the folder of the one run below tmp_path."""

    def find() -> Path:
        (folder,) = (tmp_path / "runs").iterdir()
        return folder

    return find
