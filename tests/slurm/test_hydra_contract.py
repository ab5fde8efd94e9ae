"""Hydra's own test suite for launchers, on a real Slurm."""

from __future__ import annotations

import pytest
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

from tests.slurm.conftest import JOBS

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("slurm", "hydra_as_its_tests_expect"),
]


@pytest.mark.parametrize("launcher_name, overrides", [("mergerexp_slurm", list(JOBS))])
class TestSlurm(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    "task_launcher_cfg, extra_flags", [({}, ["-m", "hydra/launcher=mergerexp_slurm", *JOBS])]
)
class TestSlurmIntegration(IntegrationTestSuite):
    pass
