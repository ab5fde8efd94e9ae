"""An application of Hydra for the released submitit launcher.

IMPORTS=torch,timm,pytorch_lightning python hydra_app.py -m hydra/launcher=submitit_slurm '+number=range(40)'

It imports at its beginning what IMPORTS names, as a training script does; without it, its jobs load nothing.
"""

from __future__ import annotations

import importlib
import os

import hydra
from omegaconf import DictConfig

for name in filter(None, os.environ.get("IMPORTS", "").split(",")):
    importlib.import_module(name)


@hydra.main(version_base=None)
def main(cfg: DictConfig) -> int:
    """Return the number of the job."""
    return int(cfg.number)


if __name__ == "__main__":
    main()
