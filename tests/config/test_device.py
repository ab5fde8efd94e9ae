"""Device and precision are decided when runs are planned; a job that finds something else refuses."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mergerexp.config import device
from mergerexp.config.call import Cell
from mergerexp.config.compose import compose_cell
from mergerexp.config.device import resolve
from mergerexp.config.fingerprint import fingerprint
from mergerexp.config.launcher import Options, read_options
from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import TrainConfig, TrainerConfig
from mergerexp.errors import ConfigError
from mergerexp.files import read_json
from mergerexp.study.plan import Planner
from mergerexp.training.machine import choose_machine


def trainer(**settings: str) -> TrainerConfig:
    return dataclasses.replace(compose_cell("train", [], TrainConfig).trainer, **settings)


def options(launcher: str, **values: object) -> Options:
    node = OmegaConf.load(conf_dir() / "hydra" / "launcher" / f"{launcher}.yaml")
    name = str(node.pop("_target_")).rpartition(".")[2]
    return read_options(name, OmegaConf.merge(node, values))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give this machine GPUs of some compute capabilities, or none, as far as its driver's tool says."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "has_apple_gpu", lambda: False)
    monkeypatch.setattr(device, "torch_is_built_for_cuda", lambda: True)

    def with_gpus(*capabilities: str) -> None:
        tool = tmp_path / "bin" / "nvidia-smi"
        tool.parent.mkdir(exist_ok=True)
        lines = "\n".join(capabilities)
        listed = "\n".join(f"GPU {i}: made up" for i in range(len(capabilities)))
        answer = f"case $1 in --list-gpus) echo '{listed}';; *) echo '{lines}';; esac"
        tool.write_text(f"#!/bin/sh\n{answer if capabilities else 'exit 9'}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")

    return with_gpus


@pytest.mark.parametrize(
    ("gpus", "launcher", "asked", "expected"),
    [
        ((), None, {}, ("cpu", "32")),
        (("9.0",), None, {}, ("cuda", "bf16")),
        (("7.0",), None, {}, ("cuda", "32")),
        (("9.0", "7.5"), ("local", {}), {}, ("cuda", "32")),  # any run may get the older one
        (("9.0",), ("local", {}), {"device": "cpu"}, ("cpu", "32")),
        (("9.0",), None, {"precision": "16"}, ("cuda", "16")),
        ((), ("local", {}), {}, ("cpu", "32")),
        ((), ("slurm", {}), {}, ("cuda", "bf16")),  # a login node has no GPU
        (("7.0",), ("slurm", {"gpus": 0}), {}, ("cpu", "32")),  # or another one
        (("7.0",), ("slurm", {"gpus": 1}), {}, ("cuda", "bf16")),
        ((), ("slurm", {"gpus": 0, "extra": {"gres": "gpu:a100:1"}}), {}, ("cuda", "bf16")),
        ((), ("slurm", {"gpus": 0, "extra": {"gpus-per-node": 1}}), {}, ("cuda", "bf16")),
        ((), ("slurm", {"gpus": 0, "extra": {"gres": "lustre:1"}}), {}, ("cpu", "32")),
        ((), ("slurm", {}), {"device": "cpu"}, ("cpu", "32")),
    ],
)
def test_what_a_run_is_planned_for(gpus, launcher, asked, expected, machine):
    machine(*gpus)
    chosen = resolve(trainer(**asked), launcher and options(launcher[0], **launcher[1]))
    assert (chosen.device, chosen.precision) == expected


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [
        ((), {"cuda_graph": "auto"}, "never"),
        (("9.0",), {"cuda_graph": "auto"}, "auto"),
        (("9.0",), {"cuda_graph": "always"}, "always"),
        (("9.0",), {"cuda_graph": "auto", "precision": "16"}, "never"),
        (("9.0",), {}, "never"),
    ],
)
def test_where_steps_are_captured(gpus, asked, expected, machine):
    machine(*gpus)
    assert resolve(trainer(**asked), None).cuda_graph == expected


@pytest.mark.parametrize(("gpus", "precision"), [((), "32"), (("9.0",), "16")])
def test_a_graph_that_cannot_be_is_refused_beforehand(gpus, precision, machine):
    machine(*gpus)
    with pytest.raises(ConfigError, match=r"^trainer.cuda_graph=always: .* use trainer.cuda_graph=auto$"):
        resolve(trainer(cuda_graph="always", precision=precision), None)


def test_a_gpu_that_this_torch_can_not_use_is_none(machine, monkeypatch):
    machine("9.0")
    monkeypatch.setattr(device, "torch_is_built_for_cuda", lambda: False)
    assert resolve(trainer(), None).device == "cpu"


@pytest.mark.parametrize("launcher", [None, "local"])
@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_that_is_not_here_is_refused_before_anything_is_prepared(
    kind, launcher, train, tmp_path, machine, monkeypatch, capsys
):
    machine()
    monkeypatch.setattr("mergerexp.cores.GPU_FILES", ())
    sweep = ("-m", "fold=0,1", f"hydra/launcher={launcher}") if launcher else ()
    assert train(*sweep, f"trainer.device={kind}", f"paths.datasets={tmp_path / 'datasets'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: trainer.device={kind}: this machine, which is to do the work, has no such"
    )
    assert not list(tmp_path.rglob("meta.json")) and not (tmp_path / "runs").exists()


def test_a_gpu_without_the_drivers_tool_may_be_asked_for(machine, tmp_path, monkeypatch):
    machine()
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr("mergerexp.cores.GPU_FILES", (tmp_path / "nvidiactl",))
    assert resolve(trainer(device="cuda"), None).device == "cuda"


def test_a_mac_has_a_device_of_its_own(machine, monkeypatch):
    machine()
    monkeypatch.setattr(device, "has_apple_gpu", lambda: True)
    chosen = resolve(trainer(), None)
    assert (chosen.device, chosen.precision) == ("mps", "32")


def plan(galaxies: Path, datasets: Path, root: Path, launcher: Options | None, *overrides: str):
    cell = ["data=folder", f"data.root={galaxies}", f"paths.datasets={datasets}", f"paths.root={root}"]
    cell += ["data.size=32", "init=random", "model.backbone=test_resnet", "tracking=none", *overrides]
    (run,) = Planner(launcher).plan([Cell(tuple(cell), compose_cell("train", cell, TrainConfig))])
    return run


def test_another_device_or_precision_is_another_run(galaxies, datasets, tmp_path, machine):
    machine()
    here = plan(galaxies, datasets, tmp_path, None)
    said = plan(galaxies, datasets, tmp_path, None, "trainer.device=cpu", "trainer.precision=32")
    on_gpus = plan(galaxies, datasets, tmp_path, options("slurm"))
    in_half = plan(galaxies, datasets, tmp_path, options("slurm"), "trainer.precision=16")
    assert said.folder == here.folder
    assert len({run.inputs["fingerprint"] for run in (here, on_gpus, in_half)}) == 3
    on_gpus.write()
    frozen = on_gpus.folder.read_config().trainer
    assert (frozen.device, frozen.precision) == ("cuda", "bf16")
    with pytest.raises(AssertionError):
        fingerprint(compose_cell("train", [], TrainConfig), "data", None)  # nobody has decided


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_job_without_its_gpu_refuses(train, galaxies, datasets, tmp_path, machine, capsys):
    machine("9.0")  # says the driver's tool; torch finds none
    assert train("tracking=none") == 1
    said = capsys.readouterr().err
    assert "trainer.device=cuda: the run was planned for it, and torch" in said
    assert "finds cpu on" in said and "hydra.launcher.gpus=1" in said and "trainer.device=cpu" in said
    (folder,) = (tmp_path / "runs").iterdir()
    assert read_json(folder / "status.json")["state"] == "failed"
    assert not (folder / "predictions.parquet").exists()


def test_a_gpu_without_bfloat16_refuses(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *which: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    with pytest.raises(ConfigError, match=r"Tesla V100 has no bfloat16 units; .* trainer.precision=16 or 32"):
        choose_machine(trainer(device="cuda", precision="bf16"))


@pytest.mark.parametrize("launcher", [None, "local"])
@pytest.mark.parametrize(("precision", "why"), [("bf16", "no bfloat16 units"), ("16", "needs a GPU")])
def test_a_precision_that_takes_minutes_a_batch_is_refused_beforehand(
    launcher, precision, why, train, tmp_path, machine, monkeypatch, capsys
):
    machine()
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: False)
    sweep = ("-m", "fold=0,1", "hydra/launcher=local") if launcher else ()
    assert train(*sweep, f"trainer.precision={precision}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: trainer.precision={precision}: ") and why in line
    assert "use trainer.precision=32" in line
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match=why):  # a job on a processor that nobody knew
        choose_machine(trainer(device="cpu", precision=precision))


def test_processors_of_a_cluster_are_not_this_one(machine, monkeypatch):
    machine()
    monkeypatch.setattr(device, "cpu_computes_bf16", lambda: False)
    jobs = options("slurm", gpus=0)
    assert resolve(trainer(precision="bf16"), jobs).precision == "bf16"
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        resolve(trainer(precision="16"), jobs)
