"""Time Zoobot's own `predict_on_catalog.predict`, in an environment that has Zoobot and no mergerexp.

python zoobot_predict.py IMAGES BACKBONE SIZE BATCH WORKERS

Its network has a backbone of timm with random weights, which are as fast as others, and Zoobot's own head.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import timm
import torch
from torchvision.transforms import v2
from zoobot.pytorch.predictions import predict_on_catalog
from zoobot.pytorch.training.finetune import FinetuneableZoobotClassifier


def main() -> None:
    """Print the version, the time and the rate as JSON."""
    images, backbone, size, batch, workers = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    catalogue = pd.DataFrame(
        {"id_str": [path.stem for path in files], "file_loc": [str(path) for path in files]}
    )
    encoder = timm.create_model(backbone, pretrained=False, num_classes=0)
    model = FinetuneableZoobotClassifier(encoder=encoder, num_classes=2, label_col="label")
    transform = v2.Compose(
        [v2.ToImage(), v2.Resize((size, size), antialias=True), v2.ToDtype(torch.float32, scale=True)]
    )
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        started = time.perf_counter()
        predict_on_catalog.predict(
            catalogue,
            model,
            str(Path(scratch) / "predictions.csv"),
            ["one", "other"],
            transform,
            datamodule_kwargs={"batch_size": batch, "num_workers": workers},
            trainer_kwargs={"accelerator": "cpu", "logger": False, "enable_checkpointing": False},
        )
        seconds = time.perf_counter() - started
    print(json.dumps({"version": version("zoobot"), "seconds": seconds, "rate": len(files) / seconds}))


if __name__ == "__main__":
    main()
