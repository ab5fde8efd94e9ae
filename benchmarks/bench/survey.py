"""`mergerexp.predict`, beside the ceiling of the machine, a bare loop and Zoobot's own loop."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench.peers import PeerMissing, Peers
from benchmarks.bench.results import OURS, Comparison
from benchmarks.gpu.timm import write_jpegs
from benchmarks.rate_survey import BARE_BATCH, measured_stages
from mergerexp.cores import usable_cores
from mergerexp.environment import environment

BACKBONE, SIZE, SIDE, IMAGES = "tf_efficientnet_lite0", 128, 424, 2000
CEILING, BARE, ZOOBOT = "ceiling: decoding and forward passes alone", "bare loop", "Zoobot"
STUDY = [
    "data=simulated_small", "data.simulator.n_mergers=40", "data.simulator.n_noninteracting=60",
    f"data.size={SIZE}", f"model.backbone={BACKBONE}", "init=random", "trainer.max_epochs=1", "fold=0,1,2,3",
    "hydra/launcher=local",
]  # fmt: skip


def measure(peers: Peers, rounds: int) -> list[Comparison]:
    """Compare the speeds of rating 424 px JPEG files."""
    with tempfile.TemporaryDirectory() as name:
        root, images = Path(name), Path(name) / "images"
        model = make_model_folder(root)
        write_jpegs(images, IMAGES, SIDE)
        return [_compare(peers, rounds, model, images, networks) for networks in (1, 4)]


def _compare(peers: Peers, rounds: int, model: Path, images: Path, networks: int) -> Comparison:
    found = Comparison(
        f"rating {IMAGES} JPEG files of {SIDE} px, {networks} x {BACKBONE} at {SIZE} px", "images/s", {}
    )
    print(found.name, flush=True)
    for number in range(rounds):
        rates = measured_stages(model, images, networks)
        ceiling = 1 / (1 / rates["decoding"] + 1 / rates["forward"])
        turn = {OURS: rates["predict"], CEILING: ceiling, BARE: rates["bare loop"]}
        if networks == 1 and not any(note.startswith(ZOOBOT) for note in found.notes):
            try:
                given = (images, BACKBONE, SIZE, BARE_BATCH, usable_cores())
                turn[ZOOBOT] = peers.measure("zoobot", "zoobot_predict.py", *given)["rate"]
            except PeerMissing as reason:
                found.notes.append(f"{ZOOBOT} was not measured: {reason}")
        for who, rate in turn.items():
            found.turns.setdefault(who, []).append(rate)
        print(f"  round {number + 1}: { ({who: round(rate) for who, rate in turn.items()}) }", flush=True)
    found.goals = {CEILING: 0.95, BARE: 1.0, ZOOBOT: 2.0}
    reached = statistics.median(found.ratios(CEILING))
    found.notes.append(f"{OURS} reaches {reached:.2f} of the ceiling.")
    return found


def make_model_folder(root: Path) -> Path:
    """Train four networks for one epoch, whose weights are as fast as others, and export them."""
    with environment({"MERGEREXP_ROOT": str(root), "MERGEREXP_LAUNCHER": "local"}):
        for words in (["train", "-m", *STUDY], ["export"]):
            line = [sys.executable, "-m", f"mergerexp.{words[0]}", *words[1:]]
            done = subprocess.run(line, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(words[:2])} failed: {done.stderr[-600:]}")
    (found,) = (root / "models").iterdir()
    return found
