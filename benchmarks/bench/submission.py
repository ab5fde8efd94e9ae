"""The submission of 40 jobs to Slurm: ours, and the released submitit launcher of Hydra."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench.peers import SCRIPTS, PeerMissing, Peers
from benchmarks.bench.results import OURS, Comparison
from benchmarks.bench.turns import take_turns
from benchmarks.submission import DATA, HELD, SWEEP
from mergerexp.environment import environment

SANDBOX = Path(__file__).resolve().parents[2] / "launchers" / "slurm_sandbox"
SCRIPT = "hydra-submitit-launcher, a script that imports torch, timm and Lightning"
EMPTY = "hydra-submitit-launcher, a script that imports nothing"
JOBS, PORT, PATIENCE_S = 40, "17400", 300


@contextlib.contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """Run a Slurm on this machine, and yield the variables that lead to it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-", dir="/tmp"))  # a Unix socket's path is short
    ours = {"SLURM_SANDBOX_DIR": str(folder), "SLURM_SANDBOX_PORT": PORT}
    try:
        started = subprocess.run(
            [SANDBOX / "start.sh"], env={**os.environ, **ours}, capture_output=True, text=True
        )
        if started.returncode:
            raise PeerMissing(f"no Slurm: {(started.stdout + started.stderr).strip().splitlines()[-1]}")
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    finally:
        subprocess.run([SANDBOX / "stop.sh"], env={**os.environ, **ours}, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def measure(peers: Peers, rounds: int) -> list[Comparison]:
    """Compare the times from the command to the moment when all jobs are in the queue."""
    found = Comparison(f"submission of {JOBS} jobs to Slurm, until all are in the queue", "s", {})
    found.goals = {SCRIPT: 3.0}
    try:
        with sandbox() as slurm, tempfile.TemporaryDirectory() as name, environment(dict(slurm)):
            shared = [f"paths.datasets={name}/datasets", f"paths.weights={name}/weights"]
            prepare = [sys.executable, "-m", "mergerexp.prepare", *DATA, shared[0]]
            subprocess.run(prepare, check=True, capture_output=True)

            def ours() -> float:
                with tempfile.TemporaryDirectory() as root, environment({"MERGEREXP_ROOT": root}):
                    line = [sys.executable, "-m", "mergerexp.train", "-m", *DATA, *SWEEP, *HELD, *shared]
                    return until_queued(line)

            def released(imports: str = "torch,timm,pytorch_lightning") -> float:
                with tempfile.TemporaryDirectory() as root, environment({"IMPORTS": imports}):
                    line = [peers.python("hydra"), str(SCRIPTS / "hydra_app.py"), "-m"]
                    line += ["hydra/launcher=submitit_slurm", f"+number=range({JOBS})"]
                    line += ["+hydra.launcher.additional_parameters={hold: true}", f"hydra.sweep.dir={root}"]
                    return until_queued(line)

            ours()  # which also tries the network, once for all sweeps
            take_turns(found, {OURS: ours, SCRIPT: released, EMPTY: lambda: released("")}, rounds)
    except PeerMissing as reason:
        found.notes.append(f"Nothing was measured: {reason}")
    found.notes.append(
        "Ours composes and checks 40 configs, looks at the data set, copies the code and writes 40 run "
        "folders; the network was tried once before. The other composes 40 configs of one key."
    )
    return [found]


def until_queued(line: Sequence[str]) -> float:
    """Return the seconds from a command's start until its jobs are queued; then these are cancelled."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(line, stdout=output, stderr=output, start_new_session=True)
        try:
            while (there := queued()) < JOBS:
                if process.poll() not in (None, 0) or time.perf_counter() - started > PATIENCE_S:
                    output.seek(0)
                    said = output.read().strip().splitlines() or ["nothing"]
                    raise PeerMissing(f"{there} jobs were queued; it said: {said[-1][:300]}")
                time.sleep(0.05)
            return time.perf_counter() - started
        finally:
            subprocess.run(["scancel", "--user", str(os.getuid())], check=False)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            while queued():
                time.sleep(0.1)


def queued() -> int:
    """Return the number of jobs in Slurm's queue."""
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True)
    return len(done.stdout.split())
