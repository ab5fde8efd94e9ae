"""Train a sweep on Slurm under all kinds of faults, and compare it with an undisturbed one.

launchers/slurm_sandbox/start.sh && . /tmp/slurm-sandbox/env.sh
python benchmarks/chaos.py --faults 30 data=simulated_small init=imagenet,random fold=0,1,2,3
python benchmarks/chaos.py --together 4 ...    # so many runs in a Slurm job
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


def on_slurm(together: int = 1) -> list[str]:
    """Return the overrides for small jobs on Slurm with so many runs in each."""
    options = {**SLURM, "runs_per_node": together}
    return ["hydra/launcher=slurm", *(f"hydra.launcher.{key}={value}" for key, value in options.items())]


class Sweep:
    """The sweep that the faults disturb.

    Attributes
    ----------
    statuses
        The status files of its jobs, as a pattern below the root.

    Parameters
    ----------
    line
        Its command line.
    root
        The root for its files.
    log
        The file for its output.
    """

    statuses = "runs/*/status.json"

    def __init__(self, line: list[str], root: Path, log: Path) -> None:
        self.line, self.root, self.log = line, root, log
        self.attempts = 0
        self.start()

    def start(self) -> None:
        """Start a process with the command line."""
        self.attempts += 1
        environment = {**os.environ, "MERGEREXP_ROOT": str(self.root)}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.line, env=environment, stdout=output, stderr=output)

    def running(self) -> list[dict]:
        """Return the status of each run that is running on a node."""
        found = []
        for path in self.root.glob(self.statuses):
            with contextlib.suppress(ValueError, FileNotFoundError):
                found.append(read_json(path))
        return [status for status in found if status.get("state") == RUNNING and status.get("node")]


class Faults:
    """Causes faults of a sweep, one at a time.

    Parameters
    ----------
    sweep
        The sweep.
    rng
        The random numbers that decide on the order of the faults and on the jobs.
    restart_server
        A function that stops the MLflow server for some seconds.
    """

    def __init__(self, sweep: Sweep, rng: random.Random, restart_server: Callable[[], None]) -> None:
        self.sweep, self.rng, self.restart_server = sweep, rng, restart_server
        self.kinds = KINDS
        self.next: list[str] = []
        self.kills_of_submitter = 1  # after each, the command line has to be given again
        self.count: Counter[str] = Counter()

    def strike(self) -> None:
        """Cause a fault, if one is possible now."""
        if not self.next:  # every kind comes once before a kind comes again
            self.next = self.rng.sample(self.kinds, len(self.kinds))
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
    """Run a Slurm command, and tell whether it succeeded; it fails if it comes too late for a job."""
    return subprocess.run(command, capture_output=True).returncode == 0


def is_queued(job: str) -> bool:
    """Tell whether a job is in the queue; scancel does not report if it is not."""
    listed = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True)
    return listed.returncode == 0 and bool(listed.stdout.strip())


def killed(pid: int) -> bool:
    """Kill a process, and tell whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def restartable_server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run an MLflow server.

    Parameters
    ----------
    folder
        The folder for its files.

    Yields
    ------
    tuple
        The address of the server, and a function that stops it for some seconds.
    """
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
    """Return the predictions of the runs below a root, by the names of their folders."""
    files = sorted(root.glob("runs/*/predictions.parquet"))
    return {path.parent.name: pd.read_parquet(path) for path in files}


def recorded(uri: str) -> Counter[str]:
    """Return the number of runs in MLflow by their status."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("mergerexp")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return Counter(run.info.status for run in runs)


def train_under_faults(
    line: list[str], root: Path, n_faults: int, seed: int, every_s: float
) -> tuple[int, Counter[str]]:
    """Train a sweep under faults.

    Parameters
    ----------
    line
        The command line of the sweep without its tracking.
    root
        The root for its files.
    n_faults
        The number of faults.
    seed
        The seed of the faults.
    every_s
        The mean time between two faults in seconds.

    Returns
    -------
    tuple
        The number of faults that had an effect, and the number of runs in MLflow by their status.
    """
    rng = random.Random(seed)
    with restartable_server(root / "server") as (address, restart):
        os.environ["MLFLOW_TRACKING_URI"] = address
        sweep = Sweep([*line, "tracking=server"], root, root / "log.txt")
        faults = Faults(sweep, rng, restart)
        while True:
            time.sleep(rng.uniform(0.5, 1.5) * every_s)
            if faults.count.total() < n_faults:
                faults.strike()
            if sweep.process.poll() is not None:
                # A run that somebody cancels or kills is trained again once the line is given again.
                allowed = 3 + faults.count["scancel"] + faults.count["kill"]
                if sweep.process.returncode == 0 or sweep.attempts >= allowed:
                    break
                say("the command line is given again")
                sweep.start()
        total = faults.count.total()
        print(f"{total} of {n_faults} faults: {dict(faults.count)}; command lines given: {sweep.attempts}")
        synced = [sys.executable, "-m", "mergerexp.status", "--sync", "--root", str(root)]
        subprocess.run(synced, check=True)
        return total, recorded(address)


def main() -> int:
    """Print the faults, and whether any result was lost or changed."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--faults", type=int, default=30, help="number of faults (%(default)s)")
    parser.add_argument("--every", type=float, default=8.0, help="mean seconds between faults (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (%(default)s)")
    parser.add_argument("--together", type=int, default=1, help="runs in each Slurm job (%(default)s)")
    parser.add_argument("--root", type=Path, help="folder that is kept; default: a temporary one")
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
        seconds = time.perf_counter() - started
        print(f"the undisturbed sweep, in local processes, took {seconds:.0f} s", flush=True)
        started = time.perf_counter()
        struck, store = train_under_faults(
            [*line, *on_slurm(arguments.together)], rough, arguments.faults, arguments.seed, arguments.every
        )
        print(f"the disturbed one took {time.perf_counter() - started:.0f} s; in MLflow: {dict(store)}")
        expected, found = predictions(calm), predictions(rough)
        states = Counter(read_json(path)["state"] for path in rough.glob("runs/*/status.json"))
        same = expected.keys() == found.keys() and all(expected[run].equals(found[run]) for run in expected)
        comparison = "identical" if same else "DIFFERENT"
        print(f"{states[DONE]} of {len(expected)} runs done, predictions {comparison}")
    whole = states[DONE] == len(expected) and store == {"FINISHED": len(expected)}
    return 0 if same and whole and struck else 1


if __name__ == "__main__":
    sys.exit(main())
