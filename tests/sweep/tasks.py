"""Stand-ins for training: jobs of a second, that fail as real ones do."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from pathlib import Path

from mergerexp.cores import usable_cores
from mergerexp.files import read_json, write_json
from mergerexp.runs import stop
from mergerexp.runs.job_folder import DONE, RUNNING, JobFolder

TARGET = "tests.sweep.tasks:work"


def work(path: Path) -> None:
    """Count steps from where the checkpoint stands; ``plan.json`` says how many, and what goes wrong."""
    plan, folder, checkpoint = read_json(path / "plan.json"), JobFolder(path), path / "checkpoint.json"
    step = read_json(checkpoint)["step"] if checkpoint.exists() else 0
    write_json(path / "interval.json", [time.time(), None])
    with (path / "starts.txt").open("a") as file:
        file.write(f"{step} {usable_cores()} {os.environ.get('OMP_WAIT_POLICY')}\n")
    (path / "gpu.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    while step < plan["steps"]:
        time.sleep(0.1)
        step += 1
        folder.set_state(RUNNING, stage="finetune", epoch=step)
        if step == plan.get("fails_at") and not (path.parent / "mended").exists():
            fail(plan["how"])
        if stop.wants_checkpoint() or plan.get("every_step"):
            write_json(checkpoint, {"step": step})
            stop.checkpoint_written()
    write_json(path / "interval.json", [read_json(path / "interval.json")[0], time.time()])
    folder.set_state(DONE)


def where_from(path: Path) -> None:
    """Write where the package was imported from."""
    import mergerexp

    write_json(path / "from.json", mergerexp.__path__[0])
    JobFolder(path).set_state(DONE)


def what_is_there(path: Path) -> None:
    """Write which modules were imported before this function was called, and when garbage is searched."""
    write_json(path / "modules.json", sorted(sys.modules))
    write_json(path / "threshold.json", gc.get_threshold())
    JobFolder(path).set_state(DONE)


def fail(how: str) -> None:
    """Fail in one of the ways of real jobs."""
    if how == "raise":
        raise ValueError("bad seed")
    if how == "exit":
        print("seven more steps", flush=True)
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        hoard = [b"x" * 10_000_000 for _ in range(30)]
        time.sleep(60)
        del hoard


def make(root: Path, name: str, steps: int, **plan: object) -> JobFolder:
    """Make the folder of a job."""
    folder = JobFolder(root / name)
    folder.path.mkdir(parents=True)
    write_json(folder.path / "plan.json", {"steps": steps, **plan})
    return folder
