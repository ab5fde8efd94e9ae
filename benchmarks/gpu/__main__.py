"""Run the stages, each in a process of its own, and write all figures to a file after each new one.

python -m benchmarks.gpu OUT.json --stages train,share --small
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mergerexp.files import write_json

# The stages in order of value, each with a time limit in seconds, so that one that hangs stops no other.
STAGES = {
    "train": 170,  # our fine-tuning and a bare loop, eager and as a captured graph
    "paper": 100,  # the parts of the paper's study, with its numbers of images and pixels
    "compile": 170,  # the bare loop with torch.compile
    "profile": 60,  # the kernels that the bare step spends its time in
    "recompile": 90,  # the compilation in a new process, which may use the cache of the first one
    "share": 170,  # several runs on one GPU
    "study": 150,  # the complete command for a small sweep
    "resume": 120,  # whether a resumed run has the same bits, and the cost of deterministic algorithms
    "rate": 90,  # the speed of rating a survey: decoding images, and four networks
    "timm": 130,  # the training script of timm
}

MODULES = {"recompile": "compile"}  # of stages that share one with another
DEFAULT = "train,compile,share"


def main() -> None:
    """Run the chosen stages, and print their figures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument("--stages", default=DEFAULT, help=f"some of {', '.join(STAGES)} (%(default)s)")
    parser.add_argument("--limit", type=float, default=480, help="seconds for all stages (%(default)s)")
    parser.add_argument("--small", action="store_true", help="use tiny sizes, to try it out, also on a CPU")
    arguments = parser.parse_args()
    stages = arguments.stages.split(",")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    found: dict[str, Any] = {"machine": machine(), "small": arguments.small, "stages": {}, "figures": []}
    end = time.monotonic() + arguments.limit
    with tempfile.TemporaryDirectory() as scratch:
        for stage in stages:
            started = time.monotonic()
            limit = min(STAGES[stage], end - started)
            if limit <= 0:
                found["stages"][stage] = {"ended": "no time was left"}
                write_json(arguments.out, found)
                continue
            ended = run_stage(stage, limit, arguments.small, Path(scratch), found, arguments.out)
            found["stages"][stage] = {"ended": ended, "seconds": round(time.monotonic() - started, 1)}
            write_json(arguments.out, found)
            print(f"== {stage}: {ended}, {time.monotonic() - started:.0f} s", flush=True)


def run_stage(stage: str, limit: float, small: bool, scratch: Path, found: dict[str, Any], out: Path) -> str:
    """Run one stage in a process of its own.

    Parameters
    ----------
    stage
        A key of `STAGES`.
    limit
        The time limit in seconds.
    small
        Whether to use tiny sizes.
    scratch
        A folder for temporary files.
    found
        All results; the figures of the stage are added to it.
    out
        The file that all results are written to.

    Returns
    -------
    str
        How the stage ended: ``ok``, or a reason.
    """
    command = [sys.executable, "-m", f"benchmarks.gpu.{MODULES.get(stage, stage)}"]
    environment = {**os.environ, "MERGEREXP_ROOT": str(scratch / "root"), "SCRATCH": str(scratch)}
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"), "SMALL": "1" if small else ""}
    environment |= {"STAGE": stage, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    environment |= {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    timer = threading.Timer(limit, lambda: os.killpg(process.pid, 9))
    timer.start()
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith("{"):
            print(line, end="")
            continue
        figure = {"stage": stage, **json.loads(line)}
        found["figures"].append(figure)
        write_json(out, found)
        print(" ".join(f"{key}={value}" for key, value in figure.items()), flush=True)
    code = process.wait()
    timer.cancel()
    if code == -9:
        return f"stopped after {limit:.0f} s"
    return "ok" if code == 0 else f"failed with {code}"


def machine() -> dict[str, Any]:
    """Return a description of the machine and the versions of the most important packages."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "timm", "pytorch-lightning")},
    }


if __name__ == "__main__":
    main()
