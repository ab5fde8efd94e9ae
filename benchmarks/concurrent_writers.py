"""Let many runs write to one MLflow store at once, time them, and count what the store has in the end.

python benchmarks/concurrent_writers.py --writers 40 --store sqlite
python benchmarks/concurrent_writers.py --writers 40 --store server
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mergerexp.config.schema import TrackingConfig
from mergerexp.files import read_json, write_json, write_text
from mergerexp.runs.job_folder import DONE, RUNNING
from mergerexp.runs.run_folder import RunFolder

REPOSITORY = Path(__file__).resolve().parents[1]
EPOCHS = 150  # of each run, with four metrics each
SETTINGS = 30  # of each run
EXPERIMENT = "writers"


def write(root: Path, number: int, uri: str, artifacts: str | None) -> None:
    """Imitate a run that writes epoch by epoch, and write how long it waited for MLflow.

    Parameters
    ----------
    root
        The folder for the run, the signals and the result.
    number
        The number of the run.
    uri, artifacts
        The addresses of the store and of its artifacts.
    """
    from mergerexp.tracking import pending

    pending.EVERY_S = 0.5  # seconds; real runs write less often
    folder = RunFolder(root / "runs" / f"run-{number:03d}")
    folder.path.mkdir(parents=True)
    settings = "\n".join(f"setting_{i}: {i}" for i in range(SETTINGS))
    write_text(folder.config, settings, signed=True)
    write_json(folder.inputs, {"fingerprint": folder.name})
    write_json(folder.provenance, {"git": {"commit": "0" * 40, "dirty": False}})
    tracking = TrackingConfig(uri=uri, experiment=EXPERIMENT, artifacts=artifacts, retry_s=1.0)
    record = pending.Record(folder, tracking)
    (root / f"ready-{number}").touch()
    while not (root / "go").exists():
        time.sleep(0.01)
    waited, rows = 0.0, []
    for epoch in range(EPOCHS):
        scores = {"train_loss": 1 / (epoch + 1), "val_loss": 0.5, "val_accuracy": 0.9, "seconds": 0.1}
        stamp = int(time.time() * 1000)
        rows.append({"stage": "finetune", "epoch": epoch, "timestamp_ms": stamp, **scores})
        write_json(folder.history, rows)
        folder.set_state(RUNNING)
        started = time.perf_counter()
        record.update()
        waited += time.perf_counter() - started
    for path in folder.artifacts():
        if not path.exists():
            write_json(path, {"test/error": 0.25})
    folder.seal()
    folder.set_state(DONE)
    started = time.perf_counter()
    complete = record.update(final=True)
    waited += time.perf_counter() - started
    write_json(root / f"result-{number}.json", {"waited": waited, "complete": complete})


def free_port() -> int:
    """Return a port of this machine that no process uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(folder: Path, port: int) -> Iterator[str]:
    """Run ``launchers/mlflow_server.sh``.

    Parameters
    ----------
    folder
        The folder for the files of the server; its log is beside it.
    port
        The port of the server.

    Yields
    ------
    str
        The address of the server.
    """
    command = [str(REPOSITORY / "launchers" / "mlflow_server.sh"), "--dir", str(folder), "--port", str(port)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with (folder.parent / "server.log").open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 600
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder.parent / "server.log").read_text(errors="replace")
                raise RuntimeError(f"the server did not start:\n{said[-2000:]}")
            time.sleep(0.1)
        yield address
    finally:
        _stop(process, port)


def _stop(process: subprocess.Popen[bytes], port: int) -> None:
    """Stop a server and wait until its port can be used again."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    # Its workers may outlive it, for as long as a client keeps a connection.
    if not _comes_free(port, 20):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not _comes_free(port, 20):
            raise RuntimeError(f"the server was stopped, and port {port} is still in use")


def _comes_free(port: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (free := _is_free(port)) and time.monotonic() < end:
        time.sleep(0.1)
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def count(uri: str, writers: int) -> list[str]:
    """Return a line for everything that is missing in the store, which some runs have written to."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=10 * writers)
    missing = [] if len(runs) == writers else [f"{len(runs)} runs instead of {writers}"]
    for run in runs:
        name = run.info.run_name
        if run.info.status != "FINISHED":
            missing.append(f"{name} is {run.info.status}")
        if len(run.data.params) != SETTINGS:
            missing.append(f"{name}: {len(run.data.params)} of {SETTINGS} parameters")
        for metric in ("train_loss", "val_loss", "val_accuracy", "seconds"):
            points = client.get_metric_history(run.info.run_id, f"finetune/{metric}")
            if [point.step for point in points] != list(range(EPOCHS)):
                missing.append(f"{name}: {len(points)} of {EPOCHS} points of {metric}")
        artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        if len(artifacts) != len(RunFolder(Path(name)).artifacts()):
            missing.append(f"{name}: artifacts {sorted(artifacts)}")
    return missing


def measure(root: Path, writers: int, uri: str, artifacts: str | None) -> list[str]:
    """Start all writers at once, and print how long they took and waited.

    Parameters
    ----------
    root
        An empty folder.
    writers
        The number of writers.
    uri, artifacts
        The addresses of the store and of its artifacts.

    Returns
    -------
    list of str
        A line for everything that is missing in the store.
    """
    command = [sys.executable, __file__, "--root", str(root), "--uri", uri, "--artifacts", artifacts or ""]
    processes = [subprocess.Popen([*command, "--writer", str(i)]) for i in range(writers)]
    while len(list(root.glob("ready-*"))) < writers:
        if any(process.poll() for process in processes):
            raise RuntimeError("a writer died before it began")
        time.sleep(0.05)
    started = time.perf_counter()
    (root / "go").touch()
    codes = [process.wait() for process in processes]
    seconds = time.perf_counter() - started
    missing = [f"writer {i} died with {code}" for i, code in enumerate(codes) if code]
    results = [read_json(path) for path in root.glob("result-*.json")]
    waited = sorted(result["waited"] for result in results)
    late = sum(not result["complete"] for result in results)
    points = writers * EPOCHS * 4
    print(f"{writers} writers, {points} points in {seconds:.1f} s; records left to complete later: {late}")
    lowest, median, highest = waited[0], statistics.median(waited), waited[-1]
    print(f"a writer waited {median:.1f} s ({lowest:.1f} to {highest:.1f} s)")
    return missing + count(uri, writers)


def main() -> int:
    """Print the figures; the exit code is 1 if the store lacks anything."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--writers", type=int, default=40)
    parser.add_argument("--store", choices=("sqlite", "server"), default="sqlite")
    for internal in ("--writer", "--root", "--uri", "--artifacts"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.writer is not None:
        write(Path(arguments.root), int(arguments.writer), arguments.uri, arguments.artifacts or None)
        return 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if arguments.store == "sqlite":
            uri = f"sqlite:///{root / 'mlflow.db'}"
            missing = measure(root, arguments.writers, uri, str(root / "artifacts"))
        else:
            with server(root / "server", free_port()) as uri:
                missing = measure(root, arguments.writers, uri, None)
    print("nothing is missing" if not missing else "\n".join(missing))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
