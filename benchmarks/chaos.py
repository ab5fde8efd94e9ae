"""Train a sweep on Slurm while everything that can go wrong does, and compare it with a calm one.

launchers/slurm_sandbox/start.sh && . /tmp/slurm-sandbox/env.sh
python benchmarks/chaos.py --faults 30 data=simulated_small init=imagenet,random fold=0,1,2,3
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from concurrent_writers import free_port, server

from mergerexp.files import read_json
from mergerexp.runs.job_folder import DONE, RUNNING

SLURM = {"gpus": 0, "cpus": 1, "mem": "3GB", "timeout": 10, "signal_lead": 30, "parallel": 2}
KINDS = ("kill", "scancel", "requeue", "preempt", "time limit", "node down", "server", "submitter")
JOBS = ["hydra/launcher=slurm", *(f"hydra.launcher.{key}={value}" for key, value in SLURM.items())]


class Sweep:
    """The sweep that is to suffer.

    Parameters
    ----------
    line
        Its command line.
    root
        Where it writes.
    log
        Where its output goes.
    """

    def __init__(self, line: list[str], root: Path, log: Path) -> None:
        self.line, self.root, self.log = line, root, log
        self.attempts = 0
        self.start()

    def start(self) -> None:
        """Give the command line."""
        self.attempts += 1
        environment = {**os.environ, "MERGEREXP_ROOT": str(self.root)}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.line, env=environment, stdout=output, stderr=output)

    def running(self) -> list[dict]:
        """Return the status files of the runs that are at work."""
        found = []
        for path in self.root.glob("runs/*/status.json"):
            with contextlib.suppress(ValueError, FileNotFoundError):
                found.append(read_json(path))
        return [status for status in found if status.get("state") == RUNNING and status.get("node")]


class Faults:
    """Things that go wrong, one at a time."""

    def __init__(self, sweep: Sweep, rng: random.Random, restart_server: Callable[[], None]) -> None:
        self.sweep, self.rng, self.restart_server = sweep, rng, restart_server
        self.next: list[str] = []
        self.kills_of_submitter = 1  # each costs one repetition of the command line
        self.count: Counter[str] = Counter()

    def strike(self) -> None:
        """Let something go wrong, if there is something that can."""
        if not self.next:  # every kind once, then every kind again
            self.next = self.rng.sample(KINDS, len(KINDS))
        kind, jobs = self.next[-1], self.sweep.running()
        if not jobs and kind in ("kill", "scancel", "requeue", "time limit", "node down"):
            return
        self.next.pop()
        if kind == "submitter" and (not self.kills_of_submitter or self.sweep.process.poll() is not None):
            return
        job = self.rng.choice(jobs) if jobs else {}
        struck = self._on_slurm(kind, job)
        if kind == "kill":
            struck = killed(job["pid"])
        elif kind == "server":
            self.restart_server()
            struck = True
        elif kind == "submitter":
            self.kills_of_submitter -= 1
            self.sweep.process.kill()
            self.sweep.process.wait()
            self.sweep.start()
            struck = True
        if not struck:
            say(f"{kind} {job.get('job', '')} came too late")
            return
        self.count[kind] += 1
        say(f"fault {self.count.total()}: {kind} {job.get('job', '')}")

    def _on_slurm(self, kind: str, job: dict) -> bool:
        if kind == "scancel":
            return is_queued(job["job"]) and slurm("scancel", job["job"])
        if kind == "requeue":
            return slurm("scontrol", "requeue", job["job"])
        if kind == "preempt":
            wrap = ("--exclusive", "--wrap", "sleep 2", "-o", "/dev/null")
            return slurm("sbatch", "-p", "urgent", f"-N{self.rng.randint(1, 4)}", *wrap)
        if kind == "time limit":
            return slurm("scontrol", "update", f"JobId={job['job']}", "TimeLimit=1")
        if kind == "node down":
            down = slurm("scontrol", "update", f"NodeName={job['node']}", "State=DOWN", "Reason=chaos")
            time.sleep(3)
            slurm("scontrol", "update", f"NodeName={job['node']}", "State=RESUME")  # it may be back already
            return down
        return False


def say(text: str) -> None:
    """Print with the time of day."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def slurm(*command: str) -> bool:
    """Give a Slurm command; tell whether it was not too late."""
    return subprocess.run(command, capture_output=True).returncode == 0


def is_queued(job: str) -> bool:
    """Tell whether a job is in the queue; scancel does not mind if it is not."""
    listed = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True)
    return listed.returncode == 0 and bool(listed.stdout.strip())


def killed(pid: int) -> bool:
    """Kill a process; tell whether there was one."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def restartable_server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run an MLflow server; give its address, and a function that takes it away for some seconds."""
    port = free_port()
    stack = contextlib.ExitStack()
    address = stack.enter_context(server(folder, port))

    def restart() -> None:
        stack.close()
        time.sleep(5)
        stack.enter_context(server(folder, port))

    try:
        yield address, restart
    finally:
        stack.close()


def predictions(root: Path) -> dict[str, pd.DataFrame]:
    """Return the predictions of every run."""
    files = sorted(root.glob("runs/*/predictions.parquet"))
    return {path.parent.name: pd.read_parquet(path) for path in files}


def recorded(uri: str) -> Counter[str]:
    """Return how many runs MLflow has in which state."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("mergerexp")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return Counter(run.info.status for run in runs)


def suffer(line: list[str], root: Path, faults: int, seed: int, every_s: float) -> tuple[int, Counter[str]]:
    """Train the sweep under faults; return how many struck, and what MLflow has in the end."""
    rng = random.Random(seed)
    with restartable_server(root / "server") as (address, restart):
        os.environ["MLFLOW_TRACKING_URI"] = address
        sweep = Sweep([*line, *JOBS, "tracking=server"], root, root / "log.txt")
        trouble = Faults(sweep, rng, restart)
        while True:
            time.sleep(rng.uniform(0.5, 1.5) * every_s)
            if trouble.count.total() < faults:
                trouble.strike()
            if sweep.process.poll() is not None:
                if sweep.process.returncode == 0 or sweep.attempts > 2:
                    break
                say("the same line again")
                sweep.start()
        total = trouble.count.total()
        print(f"{total} of {faults} faults: {dict(trouble.count)}; the line was given {sweep.attempts} times")
        synced = [sys.executable, "-m", "mergerexp.status", "--sync", "--root", str(root)]
        subprocess.run(synced, check=True)
        return total, recorded(address)


def main() -> int:
    """Print what went wrong, and whether anything was lost."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between faults, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, help="keep everything there")
    parser.add_argument("overrides", nargs="*", help="as for mergerexp.train -m")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = (arguments.root or Path(name)).absolute()
        calm, rough = root / "calm", root / "rough"
        rough.mkdir(parents=True, exist_ok=True)
        data = f"paths.datasets={root / 'datasets'}"
        line = [sys.executable, "-m", "mergerexp.train", "-m", *arguments.overrides, data]
        local = ["hydra/launcher=local", "hydra.launcher.n_jobs=2", "tracking=none"]
        started = time.perf_counter()
        subprocess.run([*line, *local], env={**os.environ, "MERGEREXP_ROOT": str(calm)}, check=True)
        print(f"the calm sweep, in local processes, took {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        struck, store = suffer(line, rough, arguments.faults, arguments.seed, arguments.every)
        print(f"the other took {time.perf_counter() - started:.0f} s; in MLflow: {dict(store)}")
        expected, found = predictions(calm), predictions(rough)
        states = Counter(read_json(path)["state"] for path in rough.glob("runs/*/status.json"))
        same = expected.keys() == found.keys() and all(expected[run].equals(found[run]) for run in expected)
        verdict = "identical" if same else "DIFFERENT"
        print(f"{states[DONE]} of {len(expected)} runs done, predictions {verdict}")
    whole = states[DONE] == len(expected) and store == {"FINISHED": len(expected)}
    return 0 if same and whole and struck else 1


if __name__ == "__main__":
    sys.exit(main())
