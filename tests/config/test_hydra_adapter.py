"""The contract with Hydra: what `mergerexp.config.hydra_adapter` relies on, held against the real one."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from mergerexp.config.app import run_app
from mergerexp.config.call import Call, Done
from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.hydra_adapter import VERSION_BASE, read_command_line
from mergerexp.config.paths import conf_dir
from mergerexp.config.schema import TrainConfig
from mergerexp.errors import ConfigError

CELLS = [
    ["init=random", "fold=2"],
    ["experiment=quickstart", "optimizer.lr=1e-3", "optimizer=sgd"],
    ["model=nonparametric", "model.method=either", "subset=0.5"],
    ["optimizer={lr: 0.1, warmup_steps: 3}"],
    ["+tracking.note=here", "fold=1"],
    ["~tracking.retry_s", "hydra/launcher=slurm", "hydra.launcher.gpus=2"],
    ["tracking=none", "paths.root=there"],
]
NUMBER_IN_TEXT = ["subset=1", "tracking.experiment=size${subset}"]


@pytest.fixture
def calls(monkeypatch, tmp_path) -> Callable[..., list[Call[TrainConfig]]]:
    """Run the train verb's command line with a verb that only keeps what it is called with."""
    monkeypatch.setenv("MERGEREXP_ROOT", str(tmp_path))

    def run(*arguments: str, values: Callable[[Call[TrainConfig]], list[float]] = lambda call: []):
        found: list[Call[TrainConfig]] = []

        def keep(call: Call[TrainConfig]) -> Done:
            found.append(call)
            return Done(len(found) - 1, values(call))

        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        with pytest.raises(SystemExit) as stopped:
            run_app("train", TrainConfig, keep, starts_jobs=True)
        assert stopped.value.code == max(0, len(found) - 1)
        return found

    return run


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_cells_are_composed_as_hydra_does(cell):
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        composer = CellComposer("train", TrainConfig)
        composer.compose(["init=random"])  # what is composed before does not matter
        assert composer.compose(cell) == compose("train", cell)


def test_a_number_within_a_text_is_written_alike_in_a_sweep_and_alone(calls):
    """Else a cell that is given again without -m would be recorded in another experiment."""
    (alone,) = calls(*NUMBER_IN_TEXT)
    (swept,) = calls("-m", *NUMBER_IN_TEXT, "fold=0,1")
    (added,) = calls("-m", *NUMBER_IN_TEXT, "fold=0,1", "+hydra.job.env_set.NOTHING=1")
    experiments = {cfg.tracking.experiment for call in (alone, swept, added) for cfg in call.configs}
    assert experiments == {"size1.0"}


def test_each_choice_of_groups_is_composed_once(calls, monkeypatch):
    composed: list[list[str]] = []
    load = ConfigLoaderImpl.load_configuration

    def counted(self, config_name, overrides, *rest, **options):
        composed.append(overrides)
        return load(self, config_name, overrides, *rest, **options)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    (call,) = calls("-m", "init=imagenet,random", "fold=0,1,2,3", "seed=0,1", "hydra/launcher=local")
    assert len(call.cells) == 16
    # Hydra composes the sweep's own config once, to make the sweeper.
    assert [[one for one in each if one.startswith("init=")] for each in composed[1:]] == [
        ["init=imagenet"],
        ["init=random"],
    ]


def test_a_single_run_and_a_sweep_pass_the_same_function(calls):
    (single,) = calls("init=random", "fold=1")
    (sweep,) = calls("-m", "init=random", "fold=1", "hydra/launcher=local")
    assert single.cells == sweep.cells
    assert (single.launcher, type(sweep.launcher).__name__) == (None, "LocalOptions")
    (here,) = calls("-m", "fold=0,1", "hydra/launcher=basic")  # Hydra's own launcher: this process
    assert ([cell.cfg.fold for cell in here.cells], here.launcher) == ([0, 1], None)


def test_flags_may_stand_anywhere(calls):
    (call,) = calls("fold=0,1", "-m", "init=random", "hydra/launcher=local")
    assert [(cell.cfg.fold, cell.cfg.init.name) for cell in call.cells] == [(0, "random"), (1, "random")]


def test_another_folder_of_configs_is_obeyed_by_all(calls, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(conf_dir(), copy)
    trainer = copy / "trainer" / "default.yaml"
    trainer.write_text(trainer.read_text().replace("max_epochs: 40", "max_epochs: 2"))
    monkeypatch.chdir(tmp_path)
    for path in (str(copy), "copy"):
        (single,) = calls("--config-path", path, "fold=1")
        (sweep,) = calls("--config-path", path, "-m", "fold=0,1", "hydra/launcher=local")
        assert {cfg.trainer.max_epochs for cfg in (*single.configs, *sweep.configs)} == {2}
        assert calls("--config-path", path, "--cfg", "job", "--package", "trainer") == []
        assert "max_epochs: 2" in capsys.readouterr().out
        assert calls("--config-path", path, "--help") == []
        assert "trainer.max_epochs=2 " in capsys.readouterr().out
    (copy / "short.yaml").write_text("defaults: [train, _self_]\nfold: 3\n")
    (named,) = calls("--config-path", "copy", "--config-name", "short")
    assert named.configs[0].fold == 3


def test_a_folder_of_ones_own_options_is_found(calls, tmp_path):
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ntrainer: {max_epochs: 3}\n")
    for flags in (["--config-dir", str(own.parent)], [f"hydra.searchpath=[file://{own.parent}]"]):
        (single,) = calls(*flags, "experiment=mine")
        (sweep,) = calls("-m", *flags, "experiment=mine", "fold=0,1", "hydra/launcher=local")
        assert {cfg.trainer.max_epochs for cfg in (*single.configs, *sweep.configs)} == {3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [["--hydra-help"], ["--info", "searchpath"], ["--cfg", "hydra"]], ids=" ".join
)
def test_what_hydra_shows_by_itself_still_works(flags, tmp_path):
    command = [sys.executable, "-m", "mergerexp.prepare", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hydra" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--folds", "--fold=1", "-x", "--cfg=nothing", "--config-dir"])
def test_a_wrong_flag_is_named(flag):
    with pytest.raises(ConfigError, match=flag.lstrip("-").partition("=")[0]) as refused:
        read_command_line(["fold=0", flag], "python -m mergerexp.train")
    assert "\n" not in str(refused.value)


def test_an_error_that_nobody_expected_says_what_it_is_and_where_it_came_from(monkeypatch):
    def broken(*_: object) -> None:
        raise KeyError("groups")

    monkeypatch.setattr(CellComposer, "_compose", broken)
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        composer = CellComposer("train", TrainConfig)
        with pytest.raises(ConfigError, match=r"KeyError: 'groups' \(HYDRA_FULL_ERROR=1 shows") as told:
            composer.compose(["fold=1"])
    assert isinstance(told.value.__cause__, KeyError)


class Greedy(Sweeper):
    """A sweeper that looks at what came out, as Optuna's does: the better value of each key is taken on."""

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        best = []
        for key in ("fold", "seed"):
            cells = [[*best, f"{key}={value}"] for value in (0, 1)]
            found = self.launcher.launch(cells, initial_job_idx=0)
            best = min(zip(found, cells, strict=True), key=lambda pair: pair[0].return_value)[1]
        Greedy.best = best


@pytest.fixture
def greedy(monkeypatch) -> None:
    """Let Hydra find the sweeper above."""
    module = types.ModuleType("hydra_plugins.greedy")  # the only place that Hydra allows
    module.Greedy = Greedy
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(importlib.import_module("hydra_plugins"), "greedy", module, raising=False)
    monkeypatch.setattr(Greedy, "__module__", module.__name__)
    Plugins.instance().register(Greedy)
    options = {"_target_": "hydra_plugins.greedy.Greedy"}
    ConfigStore.instance().store("greedy", options, "hydra/sweeper")


@pytest.mark.parametrize(("launcher", "cells"), [("local", [2, 2]), ("basic", [1, 1, 1, 1])])
def test_a_sweeper_that_optimises_gets_the_values(launcher, cells, calls, greedy):
    found = calls(
        "-m",
        "hydra/sweeper=greedy",
        f"hydra/launcher={launcher}",
        values=lambda call: [-cfg.fold + cfg.seed for cfg in call.configs],
    )
    assert Greedy.best == ["fold=1", "seed=0"]
    assert [len(call.cells) for call in found] == cells


OTHER = """
import hydra
@hydra.main(version_base="1.3", config_path=None)
def main(cfg): print("ran with", cfg)
main()
"""


@pytest.mark.slow
def test_another_application_finds_the_launchers_and_nothing_else_of_ours(tmp_path):
    (tmp_path / "other.py").write_text(OTHER)

    def run(*arguments: str) -> str:
        command = [sys.executable, "other.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout + done.stderr

    shown = run("hydra/launcher=none_such")
    assert "mergerexp_local" in shown and "mergerexp_slurm" in shown
    assert "Could not override 'data'" in run("data=folder")
    assert "n_jobs: 3" in run("hydra/launcher=mergerexp_local", "hydra.launcher.n_jobs=3", "--cfg", "hydra")
    assert not Path(tmp_path / "datasets").exists()
