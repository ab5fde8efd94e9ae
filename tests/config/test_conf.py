"""Every YAML file in conf/ composes and is valid, and says what docs/science.md says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hydra import compose as hydras_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from mergerexp.config.cell_composer import CellComposer
from mergerexp.config.compose import compose_cell
from mergerexp.config.fingerprint import fingerprint, identity
from mergerexp.config.hydra_adapter import VERSION_BASE
from mergerexp.config.paths import conf_dir
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.config.schema import (
    AggregateConfig,
    PrepareConfig,
    RobustnessConfig,
    TrainConfig,
    TwoStagesConfig,
)
from mergerexp.config.survey_schema import ExportConfig
from mergerexp.config.typed import typed
from mergerexp.errors import ConfigError

GROUPS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in conf_dir().glob("*/*.yaml")
    if path.parent.name not in ("hydra", "catalogue")
)
CATALOGUES = sorted(path.stem for path in (conf_dir() / "catalogue").glob("*.yaml"))


def compose(*overrides: str) -> TrainConfig:
    return compose_cell("train", overrides, TrainConfig)


def needs(option: str, folder: Path) -> list[str]:
    """What an option leaves to the user."""
    extra = {
        "data=folder": [f"data.root={folder}"],
        "data=sdss": [f"data.root={folder}"],
        "experiment=paper": [f"data.root={folder}"],
        "init=galaxies": [f"init.source={folder}"],
    }
    (folder / "config.json").write_text("{}")  # of a folder in timm's layout
    return extra.get(option, [])


@pytest.mark.parametrize("option", GROUPS)
def test_every_option_is_valid_and_composed_as_hydra_does(option, tmp_path):
    cell = [option, *needs(option, tmp_path), "subset=1", "seed=7"]
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        ours, hydras = CellComposer("train", TrainConfig).compose(cell), hydras_compose("train", cell)
    assert OmegaConf.get_type(ours) is TrainConfig  # so that it need not be brought into its schema again
    assert typed(hydras, TrainConfig) == typed(ours, TrainConfig) == compose(*cell)


@pytest.mark.parametrize(
    "wrong", [["init.kind=two_stages"], ["subset=half"], ["model.kind=forest"], ["data.root=${nothing}"]]
)
def test_what_is_wrong_with_a_cell_is_said_as_of_one_that_hydra_composed(wrong):
    with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        with pytest.raises(ConfigError) as hydras:
            typed(hydras_compose("train", ["data=folder", *wrong]), TrainConfig)
        with pytest.raises(ConfigError) as ours:
            typed(CellComposer("train", TrainConfig).compose(["data=folder", *wrong]), TrainConfig)
    assert str(ours.value) == str(hydras.value)


def test_prepare_takes_every_data_set(tmp_path):
    for option in GROUPS:
        if option.startswith("data="):
            compose_cell("prepare", [option, *needs(option, tmp_path)], PrepareConfig)


@pytest.mark.parametrize("option", ["tracking=sqlite", "tracking=server"])
def test_what_reads_a_study_takes_every_store(option):
    assert isinstance(compose_cell("aggregate", [option], AggregateConfig), AggregateConfig)
    cfg = compose_cell("robustness", [option], RobustnessConfig)
    assert cfg.degradations == [field.name for field in dataclasses.fields(cfg.strengths)]
    assert (cfg.subset, cfg.sweep, cfg.where) == (None, None, None)


@pytest.mark.parametrize("option", ["tracking=sqlite", "tracking=server", "tracking=none"])
def test_an_export_takes_runs_from_anywhere(option):
    assert compose_cell("export", [option], ExportConfig).references == 16


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_catalogue_is_valid(name):
    extra = {
        "own": ["catalogue.file=galaxies.csv", "catalogue.cuts={magnitude_r:17.77}"],
        "schawinski2010": ["catalogue.file=schawinski2010.fits.gz"],
        "sdss": ["catalogue.file=sdss/catalogue.parquet"],
    }
    cfg = compose_cell("sample", [f"catalogue={name}", *extra.get(name, [])], SampleConfig)
    assert cfg.catalogue.cuts and (cfg.cut, cfg.cuts) == (0.95, [0.9, 0.95, 0.99])


def test_paper_to_the_letter(tmp_path):
    cfg = compose("experiment=paper", f"data.root={tmp_path}")
    assert (cfg.data.size, cfg.model.backbone, cfg.model.head_units) == (299, "legacy_xception", 1024)
    assert (cfg.optimizer.name, cfg.optimizer.lr, cfg.optimizer.momentum) == ("sgd", 1.5e-5, 0.9)
    assert (cfg.init.head_epochs, cfg.init.head_lr, cfg.init.lr_factor) == (40, 1e-3, 1.0)
    assert (cfg.trainer.max_epochs, cfg.trainer.patience, cfg.trainer.per_class) == (300, 15, 8)
    assert (cfg.split.folds, cfg.split.subset_of, cfg.split.negatives) == (4, "all", "all")
    assert cfg.model.normalization == "raw"
    random = compose("experiment=paper", "init=random", f"data.root={tmp_path}")
    assert (random.init.lr_factor, random.init.weights) == (1.0, "random")


def test_paper_beside_what_it_has_to_beat(tmp_path):
    cfg = compose("experiment=paper", "model=nonparametric", f"data.root={tmp_path}")
    assert (cfg.data.stretch, cfg.model.trees, cfg.model.min_leaf) == (2.25, 400, 3)


class TestFingerprint:
    HASH = "0" * 64

    def of(self, *overrides: str, weights: str | None = "w", data: str = HASH) -> str:
        cfg = compose(*overrides)
        decided = {"device": "cpu", "precision": "32"}  # as planning does, see mergerexp.config.device
        own = {k: v for k in decided if (v := getattr(cfg.trainer, k)) != "auto"}
        trainer = dataclasses.replace(cfg.trainer, **{**decided, **own})
        return fingerprint(dataclasses.replace(cfg, trainer=trainer), data, weights)

    @pytest.mark.parametrize(
        "override",
        [
            "paths.root=elsewhere",
            "tracking=none",
            "tracking.experiment=other",
            "trainer.threads=1",
            "trainer.progress=false",
            "trainer.eval_batch=7",
            "trainer.checkpoint_every_s=5",
            "data.workers=1",
            "data.name=renamed",
        ],
    )
    def test_what_cannot_change_the_result_does_not_count(self, override):
        assert self.of(override) == self.of()

    @pytest.mark.parametrize(
        "override",
        [
            "fold=1",
            "subset=0.5",
            "seed=1",
            "split.seed=1",
            "init=random",
            "optimizer.lr=0.1",
            "augment=none",
            "trainer.patience=3",
            "trainer.precision=bf16",
            "trainer.device=cuda",
            "model.backbone=tf_efficientnet_lite1",
        ],
    )
    def test_what_changes_the_result_counts(self, override):
        assert self.of(override) != self.of()

    @pytest.mark.parametrize(
        "override",
        [
            "init=random",
            "augment=none",
            "optimizer=sgd",
            "trainer.max_epochs=3",
            "trainer.per_class=2",
            "trainer.threads=1",
            "seed=1",
            "model.trees=7",
            "model.min_leaf=7",
        ],
    )
    def test_what_has_no_say_in_a_rule(self, override):
        rule = ("model=nonparametric", "model.method=either")
        assert self.of(*rule, override) == self.of(*rule)

    def test_what_has_a_say_in_a_rule(self):
        rule = ("model=nonparametric", "model.method=either")
        others = ("fold=1", "subset=0.5", "split.seed=1", "data.stretch=3", "model.method=asymmetry")
        assert len({self.of(*rule), self.of(), *(self.of(*rule, other) for other in others)}) == 7

    def test_what_has_a_say_in_a_forest(self):
        forest = ("model=nonparametric", "model.method=forest_all")
        others = ("seed=1", "model.trees=7", "model.min_leaf=7", "data.stretch=null", "fold=1")
        assert len({self.of(*forest), *(self.of(*forest, other) for other in others)}) == 6
        assert self.of(*forest, "init=random", "augment=none") == self.of(*forest)

    def test_networks_do_not_ask_for_the_stretch(self):
        assert self.of("data.stretch=3") == self.of()

    def test_data_and_weights_count(self):
        assert len({self.of(), self.of(data="1" * 64), self.of(weights="v"), self.of(weights=None)}) == 4

    def test_every_key_is_either_identity_or_marked(self):
        """A new key counts unless someone said that it can't change the result."""
        cfg = compose("trainer.device=cpu", "trainer.precision=32")
        named = set(identity(cfg, self.HASH, "w"))
        fields = {field.name for field in dataclasses.fields(TrainConfig)}
        assert named - {"protocol"} == fields - {"tracking", "paths"}


class TestInitialisations:
    """What one initialisation alone has lives with it: nothing turns one into another unseen."""

    @pytest.mark.parametrize("experiment", [[], ["experiment=quickstart"], ["experiment=paper"]])
    def test_random_has_no_frozen_stage_whatever_the_experiment(self, experiment, tmp_path):
        chosen = [*experiment, *(own for option in experiment for own in needs(option, tmp_path))]
        random, imagenet = (compose(*chosen, f"init={name}").init for name in ("random", "imagenet"))
        assert not isinstance(random, TwoStagesConfig) and random.weights == "random"
        assert isinstance(imagenet, TwoStagesConfig) and imagenet.head_epochs == 40

    def test_the_frozen_stage_of_the_papers_code_is_an_arm_of_its_own(self):
        init = compose("init=random_frozen_head").init
        assert (init.name, init.weights, init.head_epochs) == ("random_frozen_head", "random", 40)

    def test_an_experiment_of_the_users_can_not_add_a_stage_either(self, tmp_path):
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ninit: {head_epochs: 20}\n")
        own = (f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
        assert compose(*own, "init=imagenet").init.head_epochs == 20
        with pytest.raises(ConfigError, match=r"init\.head_epochs: the chosen init has no such key, unlike"):
            compose(*own, "init=random")
