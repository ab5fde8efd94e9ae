"""What `make check` leaves out is marked, and nothing else trains."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pytorch_lightning import Trainer


@pytest.mark.parametrize("how", ["in this process", "in another"])
def test_a_test_that_trains_has_to_say_so(how):
    with pytest.raises(pytest.fail.Exception, match="mark it"):
        if how == "in another":
            subprocess.run([sys.executable, "-m", "mergerexp.train", "trainer.max_epochs=none"])
        else:
            Trainer.fit(Trainer.__new__(Trainer), None)
