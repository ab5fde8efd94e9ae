"""The chain from a misbehaving archive to the merger sample, killed in every step, against one undisturbed.

    python -m benchmarks.archive_chain [--folder /tmp/chain]

A server on this machine stands for the archives: 300 mergers, 1,000 other galaxies and a survey of 5,000
with pictures of the simulator. `prepare data=sdss`, `train`, `export`, `predict` and `sample` run once
undisturbed, and once with faulty answers, three interruptions of the download and a kill -9 in each step.
What comes out has to be equal, and nothing may be asked for twice but what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergerexp.analysis.mass_function import Schechter
from mergerexp.analysis.mock_sample import MockSurvey
from mergerexp.archive.sdss import GALAXIES
from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import PrepareConfig
from mergerexp.data.build import prepare_dataset
from mergerexp.data.store import Dataset
from tests.archive.server import CUTOUT, DARG, SQL, Answer, Archive, jpeg, serving

MERGERS, OTHERS, SURVEY, SIDE, RATE = 300, 1000, 5000, 64, 100.0
FAULTY = 0.03  # of all answers
NUMBERS = ("rows", "fates", "sizes", "cuts", "mass_functions", "colours")


class Sky(Archive):
    """An archive whose cutouts are pictures of the simulator."""

    def __init__(self, folder: Path) -> None:
        table, darg = _tables()
        super().__init__(table, darg=darg)
        wanted = ["data=simulated", f"data.size={SIDE}", "data.simulator.n_mergers=150"]
        wanted += ["data.simulator.n_noninteracting=450"]
        cfg = compose_cell("prepare", wanted, PrepareConfig)
        dataset = Dataset.open(prepare_dataset(cfg.data, folder / "pictures"))
        label = dataset.catalogue["label"].to_numpy()
        self._pictures = {kind: dataset.images[np.flatnonzero(label == kind)] for kind in (0, 1)}
        places = (f"{ra:.7f}" for ra in table["ra"])
        self._place: dict[str, tuple[int, int]] = dict(
            zip(places, enumerate(table["is_merger"].astype(int).tolist()), strict=True)
        )

        self.random: np.random.Generator | None = None  # of the faults
        self.spoiled = 0

    def answer(self, path: str, parameters: dict[str, str]) -> Answer:
        """Return an answer, of which some are spoiled."""
        usual = super().answer(path, parameters)
        if self.random is None or self.random.random() > FAULTY:
            return usual
        self.spoiled += 1
        half = Answer(usual.body[: len(usual.body) // 2], usual.kind, length=len(usual.body))
        busy = Answer(b"<html>busy</html>", "text/html")
        slow = Answer(b"", status=429, headers={"Retry-After": "0.1"})
        return [Answer(b"", status=503), busy, half, slow][self.random.integers(4)]

    def _image(self, parameters: dict[str, str]) -> Answer:
        index, is_merger = self._place[parameters["ra"]]
        pictures = self._pictures[is_merger]
        noise = np.random.default_rng(index).integers(-6, 7, pictures.shape[1:])  # no two are alike
        picture = np.clip(pictures[index % len(pictures)].astype(int) + noise, 0, 255)
        return Answer(jpeg(picture.astype(np.uint8)), "image/jpeg")


def _tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the galaxies of the archive, and the table of mergers."""
    random = np.random.default_rng(6)
    many = MockSurvey(mergers=Schechter(10.81, (-0.62,), (-2.7,)))
    survey = many.draw((0.02, 0.06), 430.0, random).iloc[:, :8]
    mergers = survey[survey["is_merger"]].sample(MERGERS, random_state=1)
    table = pd.concat([mergers, survey.drop(mergers.index).sample(SURVEY - MERGERS, random_state=1)])
    table = table.reset_index(drop=True)
    r, u = table.pop("magnitude_r"), table.pop("magnitude_u")
    table["dr7objid"] = (587_722_981_742_084_097 + np.arange(len(table))).astype(str)
    for name in GALAXIES.columns:
        if name not in table:
            table[name] = 0.0
    table["objid"] = table["dr7objid"]
    table["specobjid"] = [str(2**63 + row) for row in range(len(table))]
    table["petroMag_r"], table["modelMag_r"], table["modelMag_u"] = r, r, u
    table["lgm_tot_p50"], table["petroRad_r"] = table["log_mass"], random.uniform(5, 20, len(table)).round(4)
    table["p_mg"] = np.select([table.index < MERGERS, table["is_merger"]], [0.8, 0.3], 0.05)
    first = table.iloc[:MERGERS]
    darg = pd.DataFrame(
        {
            "object1": first["dr7objid"], "object2": (10**9 + np.arange(MERGERS)).astype(str),
            "ra1": first["ra"], "dec1": first["dec"], "ra2": 0.0, "dec2": -89.0, "specz1": first["z"],
        }
    )  # fmt: skip
    return table, darg


def steps(root: Path, sky: Archive) -> dict[str, list[str]]:
    """Return the command line of each step."""
    data = [
        "data=sdss", f"data.root={root}/archive", f"data.size={SIDE}", "data.archive.survey=true",
        f"data.archive.pixels={SIDE}", f"data.archive.others={OTHERS}", f"data.archive.rate={RATE}",
        f"data.archive.tables={sky.address}{SQL}", f"data.archive.cutouts={sky.address}{CUTOUT}",
        f"data.archive.mergers={sky.address}{DARG}", "data.archive.first_wait=0.01",
        "data.archive.redshift=[0.02,0.06]",
    ]  # fmt: skip
    rated = f"{root}/surveys/all/merger_probabilities.parquet"
    catalogue = f"{root}/archive/catalogue.parquet"
    model = f"{root}/models/chain"
    return {
        "prepare": ["prepare", *data, "data.download=true"],
        "train": [
            "train", "-m", *data, "init=imagenet", "fold=0,1,2,3", "init.head_epochs=5",
            "trainer.max_epochs=1", "hydra/launcher=local", "trainer.checkpoint_every_s=2",
        ],
        "export": ["export", "register=false", "onnx=false", "name=chain", "id_system=SDSS-DR7"],
        "predict": [
            "predict", f"model_folder={model}", f"images={catalogue}", "name=all", "id_system=SDSS-DR7",
            "part=512", "prevalence=0.06", "any_size=true",
        ],
        "sample": [
            "sample", "catalogue=sdss", f"catalogue.file={catalogue}", f"ratings={rated}", "draws=20",
            f"page.model_folder={model}", "page.file=file", "cut=0.8", "regions=0",
        ],
    }  # fmt: skip


def run(root: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a verb."""
    environment = {**os.environ, "MERGEREXP_ROOT": str(root), "MERGEREXP_LAUNCHER": "local"}
    line = [sys.executable, "-m", f"mergerexp.{command[0]}", *command[1:]]
    log = (root / f"{command[0]}.log").open("ab")
    return subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(root: Path, command: list[str]) -> float:
    """Run a verb to its end, and return its seconds."""
    started = time.perf_counter()
    if run(root, command).wait():
        raise SystemExit((root / f"{command[0]}.log").read_text()[-3000:])
    return time.perf_counter() - started


def disturbed(root: Path, command: list[str], seconds: float, sky: Sky) -> None:
    """Interrupt and kill a verb, then let it end."""
    if command[0] == "prepare":
        for share in (0.1, 0.3, 0.6):
            job, before = run(root, command), len(sky.times)
            while job.poll() is None and len(sky.times) < before + share * SURVEY / 3:
                time.sleep(0.02)
            job.send_signal(signal.SIGINT)
            job.wait()
    job = run(root, command)
    time.sleep(0.6 * seconds)
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finish(root, command)


def outcome(root: Path) -> dict[str, Any]:
    """Return what the chain came to."""
    content = json.loads((root / "samples/sdss/sample.json").read_text(encoding="utf-8"))
    rated = pd.read_parquet(root / "surveys/all/merger_probabilities.parquet").drop(columns="model_id")
    return {
        "sample": (root / "archive/sample.csv").read_bytes(),
        "ratings": rated.sort_values("objid").to_csv(index=False),
        "numbers": json.dumps({key: content[key] for key in NUMBERS}, sort_keys=True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    roots = {name: folder / name for name in ("undisturbed", "disturbed")}
    for root in roots.values():
        root.mkdir(parents=True)
    sky = Sky(folder)
    with serving(sky):
        seconds = {}
        for name, command in steps(roots["undisturbed"], sky).items():
            seconds[name] = finish(roots["undisturbed"], command)
            print(f"{name}: {seconds[name]:.0f} s", flush=True)
        usual, times = len(sky.times), np.array(sky.times)
        sky.times.clear()
        sky.asked.clear()
        sky.random = np.random.default_rng(1)
        for name, command in steps(roots["disturbed"], sky).items():
            disturbed(roots["disturbed"], command, seconds[name], sky)
            print(f"{name}, disturbed: done", flush=True)
        all_times = [times, np.array(sky.times)]
    found = {name: outcome(root) for name, root in roots.items()}
    for what in found["disturbed"]:
        print(f"{what}: {'equal' if found['disturbed'][what] == found['undisturbed'][what] else 'DIFFERENT'}")
    asked = len(all_times[1])
    print(
        f"requests: {usual} undisturbed; {asked} disturbed, of which {sky.spoiled} were spoiled; the others "
        f"are {(asked - sky.spoiled) / usual:.4f} of the undisturbed"
    )
    fastest = [max(np.searchsorted(each, each + 1.0) - np.arange(len(each))) for each in all_times]
    print(f"most requests that came within a second: {fastest[0]} and {fastest[1]}; allowed: {RATE:g}")


if __name__ == "__main__":
    main()
