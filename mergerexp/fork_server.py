"""What the process does first that workers and jobs are forked from: it imports this module."""

from __future__ import annotations

from mergerexp.garbage import collect_rarely

collect_rarely()
