"""What every verb can be told: one dataclass a config group, one field a key, each with its bounds.

The values live in ``conf/*.yaml``; a key that is not here is refused, a value of another type or out
of bounds too (`mergerexp.config.validate`). Fields marked ``identity=False`` cannot change a run's
result and stay out of its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

INF = float("inf")
FOREST = "forest_"  # begins the names of methods that learn


def setting(
    low: float = -INF,
    high: float = INF,
    *,
    above: float = -INF,
    choices: tuple[str, ...] = (),
    none: float | None = None,
    identity: bool = True,
) -> Any:
    """Declare a config key without a default: its value must come from YAML or an override.

    Parameters
    ----------
    low, high
        Inclusive bounds of a number, or of every entry of a list of numbers.
    above
        Exclusive lower bound.
    choices
        The allowed strings.
    none
        Of a list of strengths: the one that changes nothing, which comes first; they go away from it.
    identity
        False if the key cannot change a run's result.
    """
    bounds = {"low": low, "high": high, "above": above, "choices": choices, "none": none}
    return field(default=MISSING, metadata={**bounds, "identity": identity})


@dataclass
class PathsConfig:
    """Where things are written."""

    root: str = setting(identity=False)
    datasets: str = setting(identity=False)
    features: str = setting(identity=False)
    weights: str = setting(identity=False)
    runs: str = setting(identity=False)
    sweeps: str = setting(identity=False)
    studies: str = setting(identity=False)


@dataclass
class DataConfig:
    """What every data set has, whatever its source."""

    source: str = setting(choices=("simulated", "folder"))
    name: str = setting()
    size: int = setting(16, 2048)  # side of the stored images, in pixels
    stretch: float | None = setting(high=100.0, above=0.0)  # n of the pictures' asinh stretch; null: linear
    workers: int | None = setting(1, 1024, identity=False)  # processes of `prepare`; null: all cores
    published_sample: bool = setting(identity=False)  # the paper's own: its numbers stand beside ours


@dataclass
class SimulatorConfig:
    """The embedded galaxy simulator; see `mergerexp.simulator`."""

    n_mergers: int = setting(8, 10_000_000)
    n_noninteracting: int = setting(8, 10_000_000)
    seed: int = setting(0, 2**31 - 1)
    views_per_encounter: int = setting(1, 64)  # images of one encounter: other times, other sides
    n_particles: int = setting(500, 1_000_000)  # test particles of one disc
    stamp_width: float = setting(2.0, 30.0)  # stamp's side in Petrosian radii
    as_min: float = setting(0.0, 1.0)  # noise-free shape asymmetry that a merger must reach
    hard: float = setting(0.0, 1.0)  # chance to keep a merger below as_min
    stages: list[float] = setting(0.0, 1.0)  # fractions of approach, first passage, late
    p_proj: float = setting(0.0, 1.0)  # chance projections among the non-interacting
    p_star: float = setting(0.0, 1.0)  # bright stars in front, either class
    depth: float = setting(0.1, 10.0)  # sky noise in units of SDSS's
    label_noise: float = setting(0.0, 0.49)  # fraction of labels flipped


@dataclass
class SimulatedDataConfig(DataConfig):
    """``data=simulated``."""

    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)


@dataclass
class ColumnsConfig:
    """Names of the columns of ``data.csv``."""

    file: str = setting()
    label: str = setting()
    objid: str | None = setting()
    group: str | None = setting()


@dataclass
class FolderDataConfig(DataConfig):
    """``data=folder``: one folder a class, or a CSV of files and labels."""

    root: str = setting()
    csv: str | None = setting()  # relative to root
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    link_roots: list[str] = setting()  # folders outside root that links may lead to
    positive: str | None = setting()  # class of the rare objects; null: the smaller class, 1 of 0 and 1
    crop: float = setting(0.05, 1.0)  # central fraction of each image that is kept
    on_error: str = setting(choices=("stop", "skip"))


@dataclass
class SplitConfig:
    """Folds and subsets (``docs/science.md`` §1: K=4, test=k, val=(k+1) mod K)."""

    folds: int = setting(3, 100)
    seed: int = setting(0, 2**31 - 1)
    subset_of: str = setting(choices=("all", "train"))  # subset everything, or the training folds only
    negatives: str = setting(choices=("all", "matched"))  # keep all, or as many as there are positives


@dataclass
class ModelConfig:
    """What every model has, whatever its kind."""

    kind: str = setting(choices=("network", "nonparametric"), identity=False)  # other keys tell them apart


@dataclass
class NetworkConfig(ModelConfig):
    """Backbone and head."""

    backbone: str = setting()  # any timm name
    pretrained: str = setting()  # hub | wheel | path of a .safetensors/.pth/.bin file
    head_units: int = setting(1, 65_536)
    normalization: str = setting(choices=("backbone", "raw"))  # timm's mean/std, or 0-255 as it is
    feature_batch: int = setting(1, 65_536)  # images in one pass of the frozen backbone; decides its rounding

    @property
    def label(self) -> str:
        """What the model is called in the name of a run folder."""
        return self.backbone.removeprefix("tf_").removeprefix("legacy_")


@dataclass
class NonparametricConfig(ModelConfig):
    """Rules and forests on measured morphologies; see `mergerexp.models.nonparametric`."""

    method: str = setting(choices=("gini_m20", "asymmetry", "either", "forest_cas", "forest_all"))
    trees: int = setting(1, 100_000)  # of a forest
    min_leaf: int = setting(1, 100_000)  # training galaxies in a leaf

    @property
    def label(self) -> str:
        """What the model is called in the name of a run folder."""
        return self.method

    @property
    def is_forest(self) -> bool:
        """Whether the method learns; the others are fixed rules."""
        return self.method.startswith(FOREST)


@dataclass
class InitConfig:
    """What every initialisation has, whatever its kind: here all layers are trained at once."""

    name: str = setting()
    kind: str = setting(choices=("one_stage", "two_stages"), identity=False)  # other keys tell them apart
    weights: str = setting(choices=("pretrained", "random"))
    lr_factor: float = setting(high=1e6, above=0.0)  # on optimizer.lr in the fine-tuning stage
    freeze_batchnorm: bool = setting()  # keep BatchNorm's running statistics in the fine-tuning stage too


@dataclass
class TwoStagesConfig(InitConfig):
    """The head on the frozen backbone first, then all layers."""

    head_epochs: int = setting(1, 100_000)
    head_lr: float = setting(high=10.0, above=0.0)  # Adam


@dataclass
class AugmentConfig:
    """One affine resampling of each training image."""

    name: str = setting()
    rotation: str = setting(choices=("none", "quarter", "any"))
    flip: bool = setting()
    zoom: list[float] = setting(0.05, 20.0)  # [low, high], >1 enlarges the object
    zoom_isotropic: bool = setting()
    shift: float = setting(0.0, 0.5)  # largest shift, fraction of the side
    views: int = setting(1, 64)  # fixed views of each training image in the frozen stage
    validation: bool = setting()  # validate on augmented images, as the paper's code does


@dataclass
class OptimizerConfig:
    """Optimiser of the fine-tuning stage."""

    name: str = setting(choices=("sgd", "adam", "adamw"))
    lr: float = setting(high=10.0, above=0.0)
    momentum: float = setting(0.0, 0.9999)  # sgd; the first beta of adam and adamw
    weight_decay: float = setting(0.0, 10.0)
    warmup_steps: int = setting(0, 1_000_000)  # mini-batches over which the rate rises from near zero


@dataclass
class TrainerConfig:
    """Length of training, and the machine."""

    max_epochs: int = setting(1, 1_000_000)
    patience: int = setting(1, 1_000_000)
    per_class: int = setting(1, 4096)  # images of each class in a mini-batch
    eval_batch: int = setting(1, 65_536, identity=False)
    precision: str = setting(choices=("auto", "32", "bf16", "16"))
    device: str = setting(choices=("auto", "cpu", "cuda", "mps"))
    threads: int | None = setting(1, 1024, identity=False)  # null: what this process may use
    checkpoint_every_s: float = setting(above=0.0, identity=False)
    progress: bool = setting(identity=False)


@dataclass
class TrackingConfig:
    """Where the record of a run goes."""

    uri: str | None = setting(identity=False)  # null: run folders only
    experiment: str = setting(identity=False)
    artifacts: str | None = setting(identity=False)  # null: where the server says, or beside the SQLite file
    retry_s: float = setting(0.0, 86_400.0, identity=False)


@dataclass
class PrepareConfig:
    """Root of ``python -m mergerexp.prepare``."""

    data: Any = MISSING
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class TrainConfig:
    """Root of ``python -m mergerexp.train``."""

    data: Any = MISSING
    split: SplitConfig = field(default_factory=SplitConfig)
    model: Any = MISSING
    init: Any = MISSING
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    subset: float = setting(high=1.0, above=0.0)
    fold: int = setting(0, 99)
    seed: int = setting(0, 2**31 - 1)


@dataclass
class StudyConfig:
    """Which runs of which store make the study that a verb reads."""

    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    sweep: str | None = setting()  # beginning of a sweep's id: only its runs
    where: dict[str, Any] | None = setting()  # only runs with these settings; tags.NAME for a tag


@dataclass
class AggregateConfig(StudyConfig):
    """Root of ``python -m mergerexp.aggregate``."""

    name: str | None = setting()  # of the study's folder; null: the experiment's
    compare: list[str] | None = setting()  # [arm, arm]: does the first have the smaller error?
    allow_partial: bool = setting()  # go on although the study has gaps
    published: bool | None = setting()  # the paper's numbers beside ours; null: where it is its sample
    prevalence: float = setting(high=0.99, above=0.0)  # of mergers in the sky
    draws: int = setting(100, 1_000_000)  # of each bootstrap
    seed: int = setting(0, 2**31 - 1)


@dataclass
class StrengthsConfig:
    """Of each degradation, from none to ruinous; see `mergerexp.batches.degrade` for what they mean."""

    noise: list[float] = setting(0.0, 255.0, none=0.0)
    blur: list[float] = setting(0.0, 1000.0, none=0.0)
    jpeg: list[float] = setting(1.0, 100.0, none=100.0)
    dimming: list[float] = setting(0.0, 1.0, none=1.0)
    rotation: list[float] = setting(0.0, 360.0, none=0.0)
    zoom_out: list[float] = setting(0.05, 1.0, none=1.0)
    zoom_in: list[float] = setting(1.0, 20.0, none=1.0)
    star: list[float] = setting(0.0, 1e6, none=0.0)


@dataclass
class RobustnessConfig(StudyConfig):
    """Root of ``python -m mergerexp.robustness``."""

    subset: list[float] | None = setting(above=0.0, high=1.0)  # null: each arm's largest
    degradations: list[str] = setting(choices=tuple(each.name for each in fields(StrengthsConfig)))
    strengths: StrengthsConfig = field(default_factory=StrengthsConfig)
    device: str = setting(choices=("auto", "cpu", "cuda", "mps"))
    batch: int = setting(1, 65_536)
    seed: int = setting(0, 2**31 - 1)  # of noise and stars


DATA_SOURCES: dict[str, type[DataConfig]] = {
    "simulated": SimulatedDataConfig,
    "folder": FolderDataConfig,
}
MODEL_KINDS: dict[str, type[ModelConfig]] = {
    "network": NetworkConfig,
    "nonparametric": NonparametricConfig,
}
INIT_KINDS: dict[str, type[InitConfig]] = {
    "one_stage": InitConfig,
    "two_stages": TwoStagesConfig,
}
# Groups whose schema depends on the value of one of their keys: what one option alone has lives with it, and
# is refused where another one was chosen.
CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "data": ("source", DATA_SOURCES),
    "model": ("kind", MODEL_KINDS),
    "init": ("kind", INIT_KINDS),
}


def unused_groups(kind: str | None) -> tuple[str, ...]:
    """Return the groups that a kind of model makes no use of: no part of a run's identity, nor of its record.

    The config of a run may be older than the kinds, and has none then: it is a network's.
    """
    return ("init", "augment", "optimizer", "trainer") if kind == "nonparametric" else ()
