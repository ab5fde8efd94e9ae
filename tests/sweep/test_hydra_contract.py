"""Hydra's own test suite for launchers, on this machine's processes; tests/slurm has it on Slurm."""

from __future__ import annotations

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Hydra's tests are not written for warnings as errors
    pytest.mark.usefixtures("hydra_as_its_tests_expect"),
]


def test_hydra_finds_the_launchers():
    names = {launcher.__name__ for launcher in Plugins.instance().discover(Launcher)}
    assert {"LocalLauncher", "SlurmLauncher"} <= names


@pytest.mark.parametrize("launcher_name, overrides", [("mergerexp_local", ["hydra.launcher.n_jobs=2"])])
class TestLocal(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags",
    [({}, ["-m", "hydra/launcher=mergerexp_local", "hydra.launcher.n_jobs=2"])],
)
class TestLocalIntegration(IntegrationTestSuite):
    pass
