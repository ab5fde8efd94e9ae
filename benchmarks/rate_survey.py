"""How fast `mergerexp.predict` rates, beside the ceiling of this machine and a bare loop in the same run.

    python benchmarks/rate_survey.py MODEL_FOLDER FOLDER_OF_IMAGES [ROUNDS]

The stages take turns, in ROUNDS rounds (default 3), each on all images of the folder:

decoding
    `mergerexp.survey.stamps.make_chunk` on all cores, without a network.
forward
    one network on stamps in memory, a thread a core, without decoding.
predict
    one network of the folder, from files to the part on disk.
bare loop
    the same backbone and head by timm and torch, Pillow's full decoding and resizing, batches of 64.

The ceiling is what decoding and forward passes allow if they share all cores and nothing else takes time:
1 / (1/decoding + 1/forward).
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.cores import usable_cores
from mergerexp.survey.in_order import in_order
from mergerexp.survey.model_folder import ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.survey.rating import Rater
from mergerexp.survey.survey import Survey
from mergerexp.training.machine import set_up_torch

BATCH = 64


def survey(model: Path, images: Path, output: Path) -> Survey:
    """Return the survey of the images with the first network alone."""
    where = [f"model_folder={model}", f"images={images}", f"surveys={output}", "device=cpu", "any_size=true"]
    made = Survey(compose_cell("predict", where, PredictConfig))
    about = {**made.model.about, "folds": made.model.about["folds"][:1]}
    made.model = ModelFolder(made.model.path, about)
    return made


def predict(given: Survey) -> None:
    given.begin()
    given.rate(given.missing())


def ranges(total: int) -> list[tuple[int, int]]:
    return [(start, min(start + BATCH, total)) for start in range(0, total, BATCH)]


def decoding(given: Survey) -> None:
    for _ in in_order(given._stamps, ranges(len(given.input)), usable_cores()):
        pass


def forward(given: Survey) -> None:
    set_up_torch(1)
    rater = Rater(given.model, BATCH, torch.device("cpu"))
    size = given.model.size
    stamps = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    begin = functools.partial(torch.set_num_threads, 1)
    for _ in in_order(lambda _: rater.logits(stamps), ranges(len(given.input)), usable_cores(), begin):
        pass


def bare(given: Survey, images: Path) -> None:
    torch.set_num_threads(usable_cores())
    model, size = given.model, given.model.size
    network = FoldNetwork.load(model.fold_path(model.folds[0]), model.scaling)
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    for start in range(0, len(files), BATCH):
        stamps = []
        for path in files[start : start + BATCH]:
            picture = Image.open(path).convert("RGB")
            side = round(model.crop * min(picture.size))
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            box = (left, top, left + side, top + side)
            stamps.append(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box)))
        network.logits(np.stack(stamps))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    args = parser.parse_args()
    rates: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as output:
            given = survey(args.model, args.images, Path(output))
            stages: dict[str, Callable[[], None]] = {
                "decoding": functools.partial(decoding, given),
                "forward": functools.partial(forward, given),
                "predict": functools.partial(predict, given),
                "bare loop": functools.partial(bare, given, args.images),
            }
            for name, stage in stages.items():
                started = time.perf_counter()
                stage()
                rates.setdefault(name, []).append(len(given.input) / (time.perf_counter() - started))
    for name, found in rates.items():
        print(f"{name:<10} {statistics.median(found):8.0f} images/s ({min(found):.0f}-{max(found):.0f})")
    ceiling = 1 / (1 / statistics.median(rates["decoding"]) + 1 / statistics.median(rates["forward"]))
    reached = statistics.median(rates["predict"])
    print(f"ceiling    {ceiling:8.0f} images/s; predict reaches {reached / ceiling:.2f} of it")
    print(f"predict / bare loop: {reached / statistics.median(rates['bare loop']):.2f}")


if __name__ == "__main__":
    main()
