"""How fast `mergerexp.predict` rates, beside the ceiling of this machine and a bare loop in the same run.

    python -m benchmarks.rate_survey MODEL_FOLDER FOLDER_OF_IMAGES [--rounds 3] [--networks 1 4]
                                     [--prepared 50000] [--zoobot PYTHON]

The stages take turns, in so many rounds:

decoding
    `mergerexp.survey.stamps.make_chunk` on all cores, without a network.
forward
    the networks on stamps in memory, a thread a core, without decoding.
predict
    from files to the parts on disk, the proof of the model on its reference objects included.
bare loop
    the same networks in torch, Pillow's full decoding and resizing, batches of 64, all cores for each batch.
    Of a prepared set it reads the stamps.

The ceiling is what decoding and forward passes allow if they share all cores and nothing else takes time:
1 / (1/decoding + 1/forward). The same images are also rated from a tar file and a Parquet file, whose p must
be the same. With --prepared, a prepared data set of so many stamps is rated, all of which differ. With
--zoobot, the Python of an environment that has Zoobot times its `predict` with a network of the same size.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from benchmarks.timed_command import timed_command
from mergerexp.config.compose import compose_cell
from mergerexp.config.survey_schema import PredictConfig
from mergerexp.cores import usable_cores
from mergerexp.data.store import save
from mergerexp.survey.in_order import in_order
from mergerexp.survey.model_folder import ModelFolder
from mergerexp.survey.networks import FoldNetwork
from mergerexp.survey.rating import Rater
from mergerexp.survey.survey import CHUNK_OF_CPU, Survey
from mergerexp.training.machine import set_up_torch

BATCH, BARE_BATCH = CHUNK_OF_CPU, 64
SETTINGS = ["device=cpu", "any_size=true", "prevalence=0.1", "id_system=benchmark"]


def survey(model: Path, images: Path, output: Path, networks: int) -> Survey:
    """Return the survey of the images with the first networks alone."""
    where = [f"model_folder={model}", f"images={images}", f"surveys={output}", *SETTINGS]
    made = Survey(compose_cell("predict", where, PredictConfig))
    about = {**made.model.about, "folds": made.model.about["folds"][:networks]}
    made.model = ModelFolder(made.model.path, about)
    return made


def predict(given: Survey) -> None:
    given.begin()
    given.rate(given.missing())


def ranges(total: int, batch: int = BATCH) -> list[tuple[int, int]]:
    return [(start, min(start + batch, total)) for start in range(0, total, batch)]


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


def bare(given: Survey) -> None:
    torch.set_num_threads(usable_cores())
    model = given.model
    networks = [FoldNetwork.load(model.fold_path(fold), model.scaling) for fold in model.folds]
    for start, stop in ranges(len(given.input), BARE_BATCH):
        items = given.input.read(start, stop)
        plain = [item.stamp if item.data is None else decoded(item.data, model) for item in items]
        stamps = np.stack([stamp for stamp in plain if stamp is not None])
        for network in networks:
            network.logits(stamps)


def decoded(data: bytes, model: ModelFolder) -> np.ndarray:
    """Return a stamp by Pillow's full decoding."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    side = round(model.crop * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((model.size, model.size), Image.Resampling.BICUBIC, box=box))


def measured_stages(model: Path, images: Path, networks: int) -> dict[str, float]:
    """Return images a second of each stage, once."""
    rates = {}
    with tempfile.TemporaryDirectory() as output:
        given = survey(model, images, Path(output), networks)
        stages: dict[str, Callable[[Survey], None]] = {
            "decoding": decoding, "forward": forward, "predict": predict, "bare loop": bare
        }  # fmt: skip
        for name, stage in stages.items():
            started = time.perf_counter()
            stage(given)
            rates[name] = len(given.input) / (time.perf_counter() - started)
    return rates


def measure(model: Path, images: Path, networks: int, rounds: int) -> None:
    """Time the stages, and print rates, the ceiling and what was reached of it."""
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, rate in measured_stages(model, images, networks).items():
            rates.setdefault(name, []).append(rate)
    print(f"{images.name}, networks: {networks}, rounds: {rounds}")
    for name, found in rates.items():
        print(f"  {name:<10} {statistics.median(found):8.0f} images/s ({min(found):.0f}-{max(found):.0f})")
    ceiling = 1 / (1 / statistics.median(rates["decoding"]) + 1 / statistics.median(rates["forward"]))
    reached = statistics.median(rates["predict"])
    print(f"  ceiling    {ceiling:8.0f} images/s; predict reaches {reached / ceiling:.3f} of it", flush=True)
    print(f"  predict / bare loop: {reached / statistics.median(rates['bare loop']):.2f}", flush=True)


def whole(model: Path, images: Path, output: Path, name: str) -> pd.DataFrame:
    """Rate images by the command that a user types, print its time and memory, and return the catalogue."""
    given = [f"model_folder={model}", f"images={images}", f"surveys={output}", f"name={name}", *SETTINGS]
    seconds, memory = timed_command(["-m", "mergerexp.predict", *given])
    print(
        f"  {name}, the whole command with {len(ModelFolder.open(model).folds)} networks: {seconds:.1f} s, "
        f"peak memory {1e3 * memory:.0f} MB",
        flush=True,
    )
    return pd.read_parquet(output / name / "merger_probabilities.parquet").sort_values("image_sha256")


def compare_inputs(model: Path, images: Path) -> None:
    """Rate the same files from a folder, a tar file and Parquet, and compare their p."""
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with tarfile.open(folder / "all.tar", "w") as tar:
            for path in files:
                tar.add(path, path.relative_to(images).as_posix())
        table = {"objid": [str(path) for path in files], "image": [path.read_bytes() for path in files]}
        pq.write_table(pa.table(table), folder / "all.parquet", row_group_size=1000)
        places = {"folder": images, "tar": folder / "all.tar", "parquet": folder / "all.parquet"}
        found = {name: whole(model, place, folder / "out", name) for name, place in places.items()}
    p = [name for name in map(str, found["folder"]) if name.startswith("p_")]
    for name in ("tar", "parquet"):
        same = np.array_equal(found[name][p].to_numpy(), found["folder"][p].to_numpy(), equal_nan=True)
        print(f"  {name}: every p is {'the same' if same else 'NOT the same'} as from the folder")
        assert same


def prepared(model: Path, images: Path, number: int, path: Path) -> None:
    """Write a prepared data set of so many stamps, which are those of the images with another pixel each."""
    given = survey(model, images, path.parent / "none", 1)
    stamps = np.concatenate([chunk.stamps for chunk in map(given._stamps, ranges(len(given.input)))])

    def blocks(step: int = 1000) -> Iterator[np.ndarray]:
        for start in range(0, number, step):
            rows = np.arange(start, min(start + step, number))
            block = stamps[rows % len(stamps)].copy()
            block[:, 0, 0] = np.stack([rows & 255, (rows >> 8) & 255, rows >> 16], axis=1)
            yield block

    ids = np.arange(number)
    catalogue = pd.DataFrame({"objid": ids, "label": ids % 2, "group": ids})
    save(
        path, blocks(), catalogue, name="benchmark", source="benchmark", recipe={}, size=given.model.size,
        class_names=("other", "one"),
    )  # fmt: skip


def zoobot(python: str, images: Path, backbone: str, size: int) -> None:
    """Print the rate of Zoobot's own loop."""
    script = Path(__file__).with_name("peers") / "zoobot_predict.py"
    line = [python, str(script), str(images), backbone, str(size), str(BARE_BATCH), str(usable_cores())]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"  Zoobot: failed: {done.stderr.strip().splitlines()[-1]}")
    else:
        said = json.loads(done.stdout.splitlines()[-1])
        print(
            f"  Zoobot {said['version']}, one network: {said['rate']:.0f} images/s ({said['seconds']:.1f} s)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, nargs="+", default=[1])
    parser.add_argument("--prepared", type=int, default=0)
    parser.add_argument("--zoobot", metavar="PYTHON")
    args = parser.parse_args()
    model = ModelFolder.open(args.model)
    for networks in args.networks:
        measure(args.model, args.images, networks, args.rounds)
    if args.zoobot:
        zoobot(args.zoobot, args.images, model.about["folds"][0]["backbone"], model.size)
    compare_inputs(args.model, args.images)
    if args.prepared:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "prepared"
            prepared(args.model, args.images, args.prepared, path)
            measure(args.model, path, 1, args.rounds)
            whole(args.model, path, Path(scratch) / "out", "prepared")


if __name__ == "__main__":
    main()
