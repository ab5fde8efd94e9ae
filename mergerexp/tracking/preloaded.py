"""What a `Record` imports to send something, for the process that runs are forked from.

An import that fails must end neither that process nor a run. The run imports it again, and says why it fails.
"""

from __future__ import annotations

import contextlib
import importlib

for name in ("mergerexp.tracking.record", "mlflow.store.tracking.sqlalchemy_store"):
    with contextlib.suppress(Exception):
        importlib.import_module(name)
