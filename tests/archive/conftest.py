"""An archive on this machine, and clients of it that do not wait long."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mergerexp.archive.client import Client
from tests.archive.server import Archive, serving


@pytest.fixture
def archive():
    random = np.random.default_rng(0)
    n = 60
    galaxies = pd.DataFrame(
        {
            "objid": [str(2**63 + number) for number in range(n)],  # beyond int64, as specObjID
            "z": np.sort(random.uniform(0.005, 0.02, n)).round(6),
            "ra": random.uniform(0, 360, n),
            "petro": np.where(np.arange(n) % 7 == 0, np.nan, random.uniform(5, 20, n)),
        }
    )
    with serving(Archive(galaxies)) as served:
        yield served


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path / "client", rate=500.0, first_wait=0.01)
