"""Fine-tuning on a processor: our loop as a run uses it, a bare loop, timm's train.py and Keras 3."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench.peers import SCRIPTS, PeerMissing, Peers, last_line, run_json
from benchmarks.bench.results import OURS, Comparison
from benchmarks.bench.turns import take_turns
from mergerexp.cores import cpu_computes_bf16, usable_cores

BATCH = 16
# timm's name, Keras' name if it has the network, the side of images in pixels, and the images of an epoch.
NETWORKS = (("tf_efficientnet_lite0", None, 128, 320), ("legacy_xception", "Xception", 150, 128))
SECONDS = 8.0
PRECISIONS = {"32": "float32", "bf16": "autocast to bfloat16"}
BARE, TIMM, KERAS = "bare loop", "timm's train.py", "Keras 3"
RATE = re.compile(r"([0-9.]+)/s\s+\([0-9.]+s,\s*([0-9.]+)/s\)")


def measure(peers: Peers, rounds: int, timm_script: str | None) -> list[Comparison]:
    """Compare the speeds of fine-tuning.

    Parameters
    ----------
    peers
        The peers.
    rounds
        The number of rounds.
    timm_script
        The path of timm's ``train.py``, which is in no package; None if there is none.
    """
    precisions = ("32", "bf16") if cpu_computes_bf16() else ("32",)
    return [
        _compare(peers, rounds, timm_script, network, in_keras, size, epoch, precision)
        for precision in precisions
        for network, in_keras, size, epoch in NETWORKS
    ]


def _compare(
    peers: Peers,
    rounds: int,
    timm_script: str | None,
    network: str,
    in_keras: str | None,
    size: int,
    epoch: int,
    precision: str,
) -> Comparison:
    threads = usable_cores()
    given = (size, BATCH, threads, SECONDS, precision)
    title = (
        f"training {network}, {size} px, mini-batches of {BATCH}, {threads} threads, {PRECISIONS[precision]}"
    )
    found = Comparison(title, "images/s", {})
    with tempfile.TemporaryDirectory() as scratch:
        contestants: dict[str, Callable[[], float]] = {
            OURS: lambda: run_json(sys.executable, "-m", __name__, network, *given)["rate"],
            BARE: lambda: run_json(sys.executable, SCRIPTS / "bare_training.py", network, *given)["rate"],
        }
        if timm_script is None:
            found.notes.append("timm's train.py was not measured: --timm-train has to name it")
        else:
            mixed = ["--amp", "--amp-dtype", "bfloat16"] if precision == "bf16" else []
            contestants[TIMM] = _timm(peers, timm_script, Path(scratch), network, size, epoch, mixed)
        if in_keras is not None:
            contestants[KERAS] = lambda: peers.measure(
                "keras", "keras_training.py", in_keras, *given, KERAS_BACKEND="torch"
            )["rate"]
        take_turns(found, contestants, rounds)
    found.goals = {BARE: 1.0, TIMM: 1.5, KERAS: 1.5}
    found.notes.append(
        "Ours samples, augments and checks its mini-batches, keeps freed memory and has layers of its own on "
        "small maps; the bare loop trains on one fixed mini-batch, as torch does it without settings; "
        "timm decodes and augments JPEG files of the network's size with two workers; Keras trains on arrays "
        "in memory without augmentation."
    )
    return found


def _timm(
    peers: Peers, script: str, scratch: Path, network: str, size: int, epoch: int, mixed: list[str]
) -> Callable[[], float]:
    from benchmarks.gpu.timm import write_jpegs

    images = scratch / "jpegs"
    write_jpegs(images, epoch, size)
    line = [script, "--data-dir", images, "--train-split", "", "--val-split", "", "--model", network]
    line += ["--num-classes", 2, "--img-size", size, "-b", BATCH, "-vb", 128, "--epochs", 2, "--opt", "adamw"]
    line += ["--lr", 2e-4, "--workers", 2, "--log-interval", 1, "--channels-last", "--device", "cpu"]
    line += ["--output", scratch / "out", *mixed]

    def rate() -> float:
        python = peers.python("torch")
        done = subprocess.run([python, *map(str, line)], capture_output=True, text=True)
        second = [one for one in (done.stdout + done.stderr).splitlines() if "Train: 1 " in one]
        rates = [float(known[2]) for one in second[-1:] if (known := RATE.search(one))]
        if done.returncode or not rates:
            raise PeerMissing(f"train.py failed: {last_line(done.stderr)}")
        return rates[0]

    return rate


def ours(network: str, size: int, batch: int, threads: int, seconds: float, precision: str) -> float:
    """Return images a second of our loop, with Lightning, sampling, augmentation and checks."""
    from mergerexp.cores import wait_without_spinning

    wait_without_spinning()
    from benchmarks.gpu import measure as parts

    parts.WARM_UP, parts.CHUNKS = 3, 4
    parts.CHUNK_S = seconds / parts.CHUNKS
    setting = parts.Setting(network, size, batch)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = parts.noise(400 * batch, size, 200 * batch)  # an epoch is longer than the measurement
        run = parts.protocol(
            setting, dataset, "trainer.device=cpu", f"trainer.threads={threads}", "trainer.max_epochs=1000",
            f"trainer.precision={precision}", folder=Path(scratch),
        )  # fmt: skip
        clock = parts.Clock(batch)
        parts.finetuning(run, clock)
    steps = len(clock.rates)
    return steps / sum(1 / rate for rate in clock.rates)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    for name in ("size", "batch", "threads"):
        parser.add_argument(name, type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("precision", choices=list(PRECISIONS))
    print(json.dumps({"rate": ours(**vars(parser.parse_args()))}))


if __name__ == "__main__":
    main()
