"""The names of our tags in MLflow."""

from __future__ import annotations

IDENTITY = "mergerexp.fingerprint"
HASH = "mergerexp.sha256."  # a tag for each artifact begins so, and goes on with the name of its file
REPORT = "mergerexp.report"  # this tag marks a run of MLflow that has a report, and gives its title
EXPORT = "mergerexp.model_id"  # this tag marks a run of MLflow that has an exported model
SWEEP = "mergerexp.sweep."  # a tag for each sweep of the run begins so, and goes on with the sweep's id
