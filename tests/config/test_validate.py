"""Every wrong override gives one line that names the key, before anything is imported or written."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import mergerexp.export
import mergerexp.prepare
import mergerexp.robustness
import mergerexp.train
from mergerexp.config.config_files import unknown_key
from mergerexp.config.keys import options_of
from mergerexp.config.launcher import read_options
from mergerexp.config.schema import TrainConfig

WRONG = [
    # unknown keys and options
    ("optimizer.lrr=0.1", "optimizer.lrr", "did you mean optimizer.lr"),
    ("optimiser=adam", "optimiser", "optimizer"),
    ("+colour=red", "colour", "unknown key"),
    ("+optimizer.nesterov=true", "optimizer.nesterov", ""),
    ("optimizer=lion", "optimizer=lion", "adam, adamw, sgd"),
    ("model=vgg", "model=vgg", "efficientnet_lite0"),
    ("data=sdsss", "data=sdsss", "folder"),
    ("experiment=fig2", "experiment=fig2", "paper"),
    ("data.root=cutouts", "data.root", "the chosen data has no such key"),  # data=simulated has none
    ("~init", "init", ""),
    ("model=nonparametric model.backbone=resnet18", "model.backbone", "the chosen model has no such key"),
    ("model.method=gini_m20", "model.method", "the chosen model has no such key"),
    ("model=nonparametric +model.depth=3", "model.depth", "unknown key"),
    ("model=nonparametric model.method=gini", "model.method=gini", "gini_m20, asymmetry, either, forest_cas"),
    ("model.kind=forest", "model.kind=forest", "network, nonparametric"),
    ("model=null", "model", ""),
    # wrong types
    ("fold=one", "fold", "whole number"),
    ("trainer.patience=2.5", "trainer.patience", "whole number"),
    ("subset=all", "subset", "no number"),
    ("augment.flip=maybe", "augment.flip", ""),
    ("augment.zoom=2", "augment.zoom", ""),
    ("init.head_epochs=null", "init.head_epochs", "can't be null"),
    (
        "init=random init.head_epochs=3",
        "init.head_epochs",
        "unlike init=galaxies and init=imagenet and init=random_frozen_head",
    ),
    ("init=random +init.head_epochs=3", "init.head_epochs", "unlike init=galaxies and init=imagenet"),
    ("init=imagenet init.weights=random", "init.weights=random", "init=imagenet has pretrained"),
    ("init=random init.name=imagenet", "init.weights=random", "init=imagenet has pretrained"),
    ("init=imagenet init.kind=one_stage ~init.head_lr", "init.", "unlike init=galaxies and init=imagenet"),
    ("init=random init.kind=two_stages +init.head_lr=1", "init.head_epochs", "no value given"),
    ("init=random init.freeze_batchnorm=true", "init.freeze_batchnorm=true", "no statistics to keep"),
    ("init.head_epochs=0", "init.head_epochs=0", "at least 1"),
    ("init.kind=three_stages", "init.kind=three_stages", "one_stage, two_stages"),
    ("optimizer.lr=[1,2]", "optimizer.lr", ""),
    # out of range
    ("subset=0", "subset=0", "above 0"),
    ("subset=1.5", "subset=1.5", "at most 1"),
    ("fold=4", "fold=4", "0 to 3"),
    ("fold=-1", "fold=-1", "at least 0"),
    ("seed=-3", "seed=-3", "at least 0"),
    ("optimizer.lr=0", "optimizer.lr=0", "above 0"),
    ("optimizer.lr=nan", "optimizer.lr=nan", "above 0"),
    ("optimizer.momentum=1", "optimizer.momentum=1", "at most"),
    ("trainer.per_class=0", "trainer.per_class=0", "at least 1"),
    ("data.size=4", "data.size=4", "at least 16"),
    ("model=nonparametric model.trees=0", "model.trees=0", "at least 1"),
    ("data.stretch=0", "data.stretch=0", "above 0"),
    ("split.folds=2", "split.folds=2", "at least 3"),
    ("trainer.precision=8", "trainer.precision=8", "auto, 32, bf16, 16"),
    ("data.simulator.hard=2", "data.simulator.hard=2", "at most 1"),
    # impossible combinations
    ("augment.zoom=[2,1]", "augment.zoom", "low <= high"),
    ("augment.zoom=[1]", "augment.zoom", "[low, high]"),
    ("data.simulator.stages=[0.5,0.6,0.2]", "data.simulator.stages", "sum to 1"),
    ("data.name=../elsewhere", "data.name", "names a folder"),
    ("trainer.device=cpu trainer.precision=16", "trainer.precision=16", "GPU"),
    ("model.backbone=resnet19", "model.backbone=resnet19", "did you mean resnet18"),
    ("model.backbone=resnet18", "model.pretrained=wheel", "hub"),
    ("data=null", "data=null", ""),
    ("tracking=null", "tracking=null", ""),
    (
        "tracking=server tracking.uri=http://me:secret@host",
        "tracking.uri=http://host",
        "MLFLOW_TRACKING_PASSWORD",
    ),
    (
        "tracking.uri='http://host?token=secret'",
        "tracking.uri=http://host?token=***",
        "stored with every run",
    ),
    ("tracking.artifacts='s3://me:secret@bucket'", "tracking.artifacts=s3://bucket", "stored with every run"),
    ("model.pretrained=weights.safetensors", "model.pretrained", "no such file"),
    ("data=folder", "data.root", "no value"),
    ("data=folder data.root=nowhere", "data.root=nowhere", "no such folder"),
    ("data=folder data.root=. data.csv=none.csv", "data.csv=none.csv", "no such file"),
    # values that no schema expects
    (f"seed={'9' * 400}", "seed=999", "(400 characters): must be at least 0"),
    (f"data.name={'a' * 300}", "data.name=aaa", "at most 100 characters"),
    (f"tracking.experiment={'a' * 300}", "tracking.experiment=aaa", "at most 256 characters"),
    ("subset=[[1]]", "subset", "no number"),
    ("split=5", "split", "split.KEY=VALUE"),
    ("paths.root=${nope}", "paths.root=${nope}", "Interpolation key 'nope' not found"),
    ("paths.runs=''", "paths.runs", "a folder is needed"),
    ("tracking.uri=''", "tracking.uri=''", "no address of an MLflow store"),
    ("tracking.uri='http://'", "tracking.uri='http://'", "no address of an MLflow store"),
    ("tracking.uri='sqlite:///'", "tracking.uri='sqlite:///'", "no address of an MLflow store"),
    ('tracking.uri="http://[::1"', "tracking.uri='http://[::1'", "no address of an MLflow store"),
    ('tracking.uri="http://u:secret@[x"', "tracking.uri=http://[x", "no password"),
    ("tracking.artifacts=''", "tracking.artifacts", "a folder or an address is needed"),
    ("tracking.uri=mlflow.db", "tracking.uri='mlflow.db'", "no address of an MLflow store"),
    ("tracking.uri='http://h/?a=b&password=secret'", "tracking.uri=http://h/?a=b&password=***", "stored"),
    ("compare=[a", "compare", "a [ in it is not closed"),
    ("fold=0]", "fold", "a ] in it was not opened"),
    ("tracking.uri=http://h/?password=secret", "tracking.uri", "quoted twice"),
    ("-m hydra/launcher=slurm hydra.launcher.cpus=???", "hydra.launcher.cpus", "no value given"),
    ("-m hydra/launcher=slurm hydra.launcher.mem=lots", "hydra.launcher.mem=lots", "such as 16GB"),
    ("-m hydra/launcher=slurm hydra.launcher.runs_per_gpu=many", "runs_per_gpu=many", "auto, or a number"),
    ("-m hydra/launcher=slurm hydra.launcher.runs_per_gpu=0", "hydra.launcher.runs_per_gpu=0", "at least 1"),
    (
        "-m hydra/launcher=slurm hydra.launcher.runs_per_node=2",
        "hydra.launcher.runs_per_node=2",
        "use hydra.launcher.runs_per_gpu",
    ),
    (
        "-m hydra/launcher=slurm hydra.launcher.gpus=0 hydra.launcher.runs_per_gpu=auto",
        "hydra.launcher.runs_per_gpu=auto",
        "use hydra.launcher.runs_per_node",
    ),
    (
        "-m hydra/launcher=local hydra.launcher.n_jobs=2 hydra.launcher.runs_per_gpu=2",
        "hydra.launcher.n_jobs=2",
        "leave one of them out",
    ),
    ("augment.zoom=[1,[2]]", "augment.zoom", "a list within a list"),
    ("data={a:1}", "data", "data.KEY=VALUE"),
    ("trainer=3", "trainer=3", "by its name"),
    ("-m fold=glob(*)", "", "no cell"),
    ("hydra/launcher=slurm fold=1", "hydra/launcher=slurm", "add -m"),
    ("-m hydra/launcher=local hydra.launcher=null", "launcher", "not configured"),
    ("-m hydra/launcher=slurm hydra.launcher.extra={job_name:mine}", "hydra.launcher.extra", "job_name"),
    ("-m hydra/launcher=slurm hydra.launcher.extra={requeue:false}", "hydra.launcher.extra", "requeue"),
    (
        "-m hydra/launcher=slurm hydra.launcher.extra={partition:a}",
        "hydra.launcher.extra",
        "launcher.partition",
    ),
    ("--help data.source=nope", "data.source=nope", "folder, sdss, simulated"),
    ("--help init.kind=zzz", "init.kind=zzz", "one_stage, two_stages"),
    ("--help data=nope", "data=nope", "simulated_tiny"),
    ("--config-dir nope", "--config-dir nope", "no such folder"),
    # not a sweep, or not an override
    ("init=imagenet,random", "init=imagenet,random", "-m init=imagenet,random"),
    ("--fold 0", "--fold", "no such flag"),
    ("-m --fold=0", "--fold", "no such flag; settings have no dashes"),
    ("--tracking.uri=http://u:secret@host", "--tracking.uri", "tracking.uri=VALUE"),
    ("--resume", "--resume", "no such flag; settings have no dashes"),
    ("--package-data=2", "--package-data", "no such flag; settings have no dashes"),
    ("--config-dirr=/x", "--config-dirr", "did you mean --config-dir? Settings have no dashes"),
    ("--config-path", "--config-path", "expected one argument"),
    ("--shell-completion", "", "install"),
    ("fold=0,1", "fold", "-m fold=0,1"),
    ("fold", "'fold'", "KEY=VALUE"),
    ("fold = 0", "fold", "no spaces around the =, as in fold=VALUE"),
    ("fold =0", "fold", "no spaces around the =, as in fold=VALUE"),
    ("fold= 0", "fold", "no spaces around the =, as in fold=VALUE"),
    ("= 0", "", "no spaces around the =, as in KEY=VALUE"),
    ("fold=0 = 1", "", "no spaces around the =, as in KEY=VALUE"),
    ("tracking.uri= http://host?token=secret", "tracking.uri", "no spaces around the ="),
    ("tracking.uri = http://u:secret@host", "tracking.uri", "no spaces around the ="),
    ("fold=0,", "fold", "a value is missing after the last comma"),
    ("--hlep", "--hlep", "did you mean --help?"),
]


@pytest.mark.parametrize(("overrides", "key", "hint"), WRONG, ids=[case[0] for case in WRONG])
def test_wrong_override(overrides, key, hint, run_verb, capsys, tmp_path):
    assert run_verb(mergerexp.train, *overrides.split()) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1, message
    assert key in message
    assert hint in message
    assert "secret" not in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        (
            'hydra.launcher.partition="gpu\n#SBATCH --uid=0"',
            r"hydra.launcher.partition='gpu\n#SBATCH --uid=0'",
        ),
        ('hydra.launcher.mem="1GB\r"', r"hydra.launcher.mem='1GB\r'"),
        ('hydra.launcher.setup=["module load a\nexit 1"]', r"hydra.launcher.setup=['module load a\nexit 1']"),
        ('hydra.launcher.extra={constraint:"a\n#SBATCH -A b"}', r"{'constraint': 'a\n#SBATCH -A b'}"),
        ('hydra.launcher.extra={a:[{b:"c\x1bd"}]}', r"{'a': [{'b': 'c\x1bd'}]}"),
        ('tracking.experiment="a\nb"', r"tracking.experiment='a\nb'"),
        ('tracking.experiment="a\x1b[31mb"', r"tracking.experiment='a\x1b[31mb'"),
        ('tracking.experiment="a\u2028b"', r"tracking.experiment='a\u2028b'"),
        ('tracking.uri="http://me:secret@host\nx"', r"tracking.uri='http://host\nx'"),
        ('paths.runs="a\x7fb"', r"paths.runs='a\x7fb'"),
    ],
)
def test_a_text_that_would_be_several_lines_is_refused(override, shown, run_verb, capsys, tmp_path):
    assert run_verb(mergerexp.train, "-m", "hydra/launcher=slurm", "fold=0,1", override) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(shown in line and "single line" in line for line in lines)
    assert all(line.isprintable() and "secret" not in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_lines_of_a_setup_are_entries_of_a_list():
    slurm = {key: value for key, value in options_of("hydra/launcher")["slurm"].items() if key != "_target_"}
    options = read_options("SlurmLauncher", {**slurm, "setup": ["module load a", "export B='c d'"]})
    assert options.setup == ["module load a", "export B='c d'"]


WRONG_ROBUSTNESS = [
    ("degradation=[noise]", "degradation", "did you mean degradations"),
    ("degradations=[noise", "degradations", "a [ in it is not closed"),
    ("degradations=[fog]", "degradations=fog", "noise, blur, jpeg"),
    ("degradations=[]", "degradations=[]", "one entry at least"),
    ("degradations=[noise,blur,noise]", "degradations", "none twice"),
    ("degradations=noise", "degradations", ""),
    ("+strengths.fog=[0,1]", "strengths.fog", "unknown key"),
    ("strengths.noise=[5,10]", "strengths.noise", "begin with 0, which changes nothing"),
    ("strengths.noise=[0]", "strengths.noise", "grow more severe"),
    ("strengths.jpeg=[100,20,50]", "strengths.jpeg", "begin with 100, which changes nothing, and grow"),
    ("strengths.zoom_in=[1,2,2]", "strengths.zoom_in", "grow more severe"),
    ("strengths.dimming=[1,-0.5]", "strengths.dimming=-0.5", "at least 0"),
    ("strengths.jpeg=[100,0]", "strengths.jpeg=0", "at least 1"),
    ("subset=[0]", "subset=0", "above 0"),
    ("subset=[1,1]", "subset", "none twice"),
    ("subset=1", "subset", ""),
    ("where=imagenet", "where", ""),
    ("device=tpu", "device=tpu", "auto, cpu, cuda, mps"),
    ("batch=0", "batch=0", "at least 1"),
    ("tracking=none", "tracking=none", "choose tracking=sqlite or tracking=server"),
    ("name=study", "name", "unknown key"),
]


@pytest.mark.parametrize(
    ("override", "key", "hint"), WRONG_ROBUSTNESS, ids=[case[0] for case in WRONG_ROBUSTNESS]
)
def test_wrong_override_of_robustness(override, key, hint, run_verb, capsys, tmp_path):
    assert run_verb(mergerexp.robustness, override) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1, message
    assert key in message
    assert hint in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "offered"), [(mergerexp.robustness, False), (mergerexp.train, True), (mergerexp.export, True)]
)
def test_a_verb_that_reads_a_study_does_not_offer_to_have_no_store(verb, offered, run_verb, capsys):
    assert run_verb(verb, "--help") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  tracking=sqlite"))
    assert ("none" in line) is offered


def test_wrong_cells_of_a_sweep_are_all_named_and_nothing_starts(run_verb, capsys, tmp_path):
    assert run_verb(mergerexp.train, "-m", "fold=0,4,5", "subset=0.1,7") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [any(word in line for line in lines) for word in ("fold=4", "fold=5", "subset=7")] == [True] * 3
    assert len(lines) == 7  # two for each of the two cells in which both are wrong
    assert list(tmp_path.iterdir()) == []


def test_a_setting_of_one_initialisation_is_refused_for_a_sweep_over_several(run_verb, capsys, tmp_path):
    assert run_verb(mergerexp.train, "-m", "init=imagenet,random", "fold=0,1", "init.head_epochs=3") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["init=random fold=0", "init=random fold=1"]
    assert all("give it in a line for these alone" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_of_a_line_are_named(run_verb, capsys, tmp_path):
    wrong = {
        "foldd=1 optimizer.lrr=2 data=xx": ("data=xx", "foldd", "optimizer.lrr"),
        "fold=one optimizer.lr=[1,2]": ("optimizer.lr", "fold"),
        "subset=7 seed=-1 fold=9": ("subset=7", "seed=-1", "fold=9"),
        "foo=1 fold=a init=nope trainer.patience=0": ("init=nope", "foo", "fold", "trainer.patience=0"),
        "split=5 optimizer.lr=-1 fold=a": ("fold", "split", "optimizer.lr=-1.0"),
        "foo=1 trainer.patience=0 init=nope": ("init=nope", "foo", "trainer.patience=0"),
        "-m init=imagenet,random foo=1 trainer.patience=0": ("foo", "trainer.patience=0"),
        "fold=9 data.name=a/b model.backbone=zzz": ("fold=9", "model.backbone=zzz", "data.name=a/b"),
        "-m foo=1 bar=2 fold=0,1": ("foo", "bar"),
        "init.kind=x model.kind=y data.source=z": ("data.source=z", "model.kind=y", "init.kind=x"),
        "seed=${fold} fold=${seed}": ("fold=${seed}", "seed=${fold}"),
        "-m hydra/launcher=local hydra.launcher.n_jobs=0 hydra.launcher.rerun=y": ("n_jobs=0", "rerun=y"),
    }
    for line, keys in wrong.items():
        assert run_verb(mergerexp.train, *line.split()) == 2
        lines = capsys.readouterr().err.splitlines()
        assert [key in told for key, told in zip(keys, lines, strict=True)] == [True] * len(keys), lines
    assert list(tmp_path.iterdir()) == []


def test_a_verb_without_jobs_takes_no_launcher(run_verb, capsys):
    assert run_verb(mergerexp.prepare, "-m", "hydra/launcher=slurm", "data=simulated_tiny") == 2
    assert "this verb starts no jobs" in capsys.readouterr().err


def test_prepare_refuses_too(run_verb, capsys):
    assert run_verb(mergerexp.prepare, "data.sizes=64") == 2
    assert "data.size" in capsys.readouterr().err


def test_refusing_takes_no_torch():
    script = (
        "import sys, mergerexp.train as t; sys.argv = ['train', 'optimizer.lr=-1']\n"
        "try: t.main()\n"
        "except SystemExit as stopped: print(stopped.code, 'torch' in sys.modules, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"]


def test_help_shows_groups_and_keys(run_verb, capsys):
    assert run_verb(mergerexp.train, "--help") == 0
    shown = capsys.readouterr().out
    assert "python -m mergerexp.train -m init=imagenet,random" in shown
    assert re.search(r"augment=dihedral +dihedral, none, paper_intent, paper_literal", shown)
    assert "checkpoint_every_s" in shown


def test_a_key_of_the_other_launcher_names_the_one_that_has_it():
    """Which one is chosen depends on the machine, so that nobody need have named it."""
    assert unknown_key("hydra.launcher.n_jobs", TrainConfig).endswith("unlike hydra/launcher=local")
    assert unknown_key("hydra.launcher.partition", TrainConfig).endswith("unlike hydra/launcher=slurm")
