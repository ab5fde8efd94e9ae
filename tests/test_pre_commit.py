"""The checks before a commit are programs of the project's own environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from omegaconf import OmegaConf

from tests.conftest import REPOSITORY


def test_hooks_fetch_nothing():
    config = OmegaConf.load(REPOSITORY / ".pre-commit-config.yaml")
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for repository in config.repos:
        assert repository.repo == "local"
        for hook in repository.hooks:
            assert hook.language == "system"
            assert shutil.which(hook.entry.split()[0], path=own), hook.entry
