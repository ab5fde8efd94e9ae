"""The settings of ``mergerexp.sample``, beside those of `mergerexp.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergerexp.config.paths import absolute_path
from mergerexp.config.schema import LARGEST_SEED, PathsConfig
from mergerexp.settings import setting

COUNTS, MASSES = ("objects", "systems"), ("each", "primary")
BESIDE = ("p", "p_calibrated")


@dataclass(kw_only=True)
class CatalogueColumns:
    """Names of the columns of a catalogue of galaxies; null for those that it does not have."""

    id: str = setting("ids, integers of 64 bits or texts")
    ra: str = setting("right ascension")
    dec: str = setting("declination in degrees")
    redshift: str = setting("spectroscopic redshift")
    log_mass: str = setting("log10 of the stellar mass in solar masses, for H0 = 70 km/s/Mpc")
    magnitude: str = setting("apparent magnitude that the recall of a classifier may depend on")
    blue: str = setting("the bluer apparent magnitude of the colour, u")
    red: str = setting("the redder apparent magnitude of the colour, r")
    size: str | None = setting("apparent radius that the recall of a classifier may depend on")
    weight: str | None = setting("weight of each galaxy, against fibre collisions say")
    visual: str | None = setting("what was seen by eye; catalogue.visual says which values are mergers")
    visual_log_mass: str | None = setting("log10 of the mass that those who looked give, for visual mergers")
    mass_ratio: str | None = setting("mass of the larger over that of the smaller galaxy, of visual mergers")
    p: str | None = setting("merger probability; null: from ratings, or not there")
    p_one: str | None = setting(
        "merger probability by one network alone, as training objects have it; null: columns.p"
    )
    p_prior: str | None = setting("merger probability at the survey's prevalence")
    p_calibrated: str | None = setting("merger probability at the prevalence of the training set")
    n_models: str | None = setting("number of networks that rated the galaxy")
    in_training_set: str | None = setting("whether a network was trained on the galaxy")
    p_published: str | None = setting(
        "merger probability that somebody else has published; null: from published.file, or not there"
    )


@dataclass(kw_only=True)
class MockConfig:
    """A mock survey; see `mergerexp.analysis.mock_sample.MockSurvey`."""

    area: float | None = setting(
        "its area; null: there is no mock survey", above=0.0, high=20_000.0, unit="square degrees"
    )
    paired: float = setting("fraction of mergers that have a companion", 0.0, 1.0)
    seed: int = setting("seed of its draws", 0, LARGEST_SEED)


@dataclass(kw_only=True)
class CatalogueConfig:
    """A catalogue of galaxies, and the limits of the survey that it comes from."""

    name: str = setting("name of the catalogue, which names the folder of the sample")
    file: str | None = setting("catalogue: CSV, Parquet, FITS or VOTable; null: a mock one, by mock")
    mock: MockConfig
    columns: CatalogueColumns
    ra_unit: str | None = setting(
        "unit of right ascensions; null: degrees, unless they look like hours, which is refused",
        choices=("degrees", "hours"),
    )
    missing: list[float] = setting("numbers that stand for a missing value, such as -9999")
    bad_above: dict[str, float] | None = setting(
        "the largest number that is believed, for each column in which larger ones are bad; null: none"
    )
    note: str | None = setting("sentences on the catalogue for the page; null: none")
    visual: list[str] = setting("values of columns.visual that are mergers")
    max_mass_ratio: float | None = setting(
        "the largest columns.mass_ratio of a visual merger; null: any", 1.0, 1e6
    )
    redshift: list[float] = setting("lower and upper redshift of the sample", above=0.0, high=1.0)
    log_mass: list[float] = setting("lower and upper log10 of the masses that are believed", 0.0, 13.0)
    cuts: dict[str, float] = setting(
        "the faintest apparent magnitude, for each column that was cut in; +catalogue.cuts.COLUMN=VALUE adds "
        "one to those of a file"
    )
    absolute_cuts: dict[str, float] | None = setting(
        "the faintest absolute magnitude (H0 = 70 km/s/Mpc, no k-correction), for each column that was cut "
        "in it; null: none"
    )
    extinction: dict[str, str] | None = setting(
        "column of the Galactic extinction of each column of magnitudes; null: there is none"
    )
    cuts_are_corrected: bool = setting("whether the cuts are in magnitudes corrected for extinction")
    area: float | None = setting(
        "area on the sky; null: not known, so that mass functions have a shape but no density",
        above=0.0, high=41_253.0, unit="square degrees",
    )  # fmt: skip
    completeness: float = setting(
        "fraction of the galaxies within the cuts that have a spectrum", above=0.0, high=1.0
    )
    prior_at: float | None = setting(
        "prevalence that columns.p_prior refers to; null: what the summary beside the ratings says",
        above=0.0, high=0.99,
    )  # fmt: skip
    calibrated_at: float | None = setting(
        "prevalence that columns.p_calibrated refers to; null: what the summary beside the ratings says",
        above=0.0, high=0.99,
    )  # fmt: skip

    def problem(self) -> str | None:
        """Say which value makes no sense, and why; None if all do."""
        if (self.file is None) == (self.mock.area is None):
            return f"file={self.file}: name a file, or choose catalogue=mock"
        for name in ("redshift", "log_mass"):
            pair = getattr(self, name)
            if len(pair) != 2 or pair[0] >= pair[1]:
                return f"{name}={pair}: a lower and an upper limit are needed"
        if not self.cuts and not self.absolute_cuts:
            return "cuts={}: the faintest magnitude of the sample is needed, or no mass limit can be found"
        if self.max_mass_ratio is not None and self.columns.mass_ratio is None:
            return f"max_mass_ratio={self.max_mass_ratio:g}: columns.mass_ratio is needed"
        used = {*self.cuts, *(self.absolute_cuts or {}), self.columns.blue, self.columns.red}
        if unused := [name for name in self.extinction or {} if name not in used | {self.columns.magnitude}]:
            return f"extinction: {unused[0]} is no column of magnitudes that is used"
        if self.cuts_are_corrected and (
            left := [name for name in self.cuts if name not in (self.extinction or {})]
        ):
            return (
                f"extinction: the column of the extinction of {left[0]} is needed, since cuts_are_corrected"
            )
        return None


@dataclass(kw_only=True)
class PublishedConfig:
    """Merger probabilities of the same galaxies that somebody else has published."""

    file: str | None = setting(
        "catalogue to compare with, such as the paper's merger_probabilities.csv.gz: CSV, Parquet, FITS or "
        "VOTable; null: none"
    )
    id: str = setting("its column of ids, which are those of catalogue.columns.id")
    p: str = setting("its column of merger probabilities")
    beside: str = setting("which probability of the catalogue it is compared with", choices=BESIDE)


@dataclass(kw_only=True)
class PageConfig:
    """What the page of a sample shows beside its numbers."""

    title: str | None = setting("title; null: the name of the sample")
    authors: str | None = setting("who made it; null: the authors that the model folder names")
    model_folder: str | None = setting("folder of the networks that rated the survey, to be offered, too")
    file: str | None = setting("column of the catalogue with the files of images; null: no pictures")
    images: str | None = setting("folder that these are relative to; null: that of the catalogue")
    pictures: int = setting("pictures of the mergers with the highest p", 0, 400)
    viewer: str | None = setting(
        "address of a viewer of the sky, in which {ra} and {dec} stand for degrees; null: no links"
    )

    def problem(self) -> str | None:
        """Say which value makes no sense, and why; None if all do."""
        if self.viewer is None:
            return None
        bare = self.viewer.replace("{ra}", "").replace("{dec}", "")
        is_address = self.viewer.startswith(("http://", "https://"))
        if not is_address or "{" in bare or bare == self.viewer:
            return f"viewer={self.viewer}: an http(s) address with {{ra}} and {{dec}} is needed"
        return None


@dataclass(kw_only=True)
class SampleConfig:
    """Root of ``mergerexp.sample``."""

    paths: PathsConfig
    catalogue: CatalogueConfig
    ratings: str | None = setting(
        "merger_probabilities.parquet of mergerexp.predict, whose rows are found by their ids; null: the "
        "catalogue has them itself, or there are none"
    )
    published: PublishedConfig
    page: PageConfig
    samples: str = setting("folder of samples")
    name: str | None = setting("name of the sample's folder; null: that of the catalogue")
    cut: float = setting("p above which a galaxy is a classified merger", above=0.0, high=1.0)
    cuts: list[float] = setting("further cuts that mergers are counted above", above=0.0, high=1.0)
    count: str = setting("what counts as one merger in the mass function", choices=COUNTS)
    mass: str = setting(
        "whose mass counts. each: a galaxy's own; primary: that of the heaviest of its system", choices=MASSES
    )
    link_kpc: float = setting(
        "largest projected distance of two mergers of a system", above=0.0, high=10_000, unit="kpc"
    )
    link_velocity: float = setting(
        "largest difference of their velocities", above=0.0, high=10_000, unit="km/s"
    )
    mass_bins: list[float] = setting("edges of the bins of mass in which colours are compared", 0.0, 13.0)
    complete: float = setting(
        "quantile of the masses that the faintest galaxies would have at the limit in magnitude, which is "
        "the mass limit; 0.95 in Pozzetti et al. 2010",
        0.5,
        1.0,
    )
    bin_width: float = setting("width of the bins of mass functions", 0.01, 1.0, unit="dex")
    extinction: bool = setting("correct colours for Galactic extinction, by the columns of the catalogue")
    k_correct: bool = setting(
        "correct u - r for the redshift (Chilingarian et al. 2010); colours with Galactic extinction need "
        "extinction=true beside it"
    )
    correct: bool = setting(
        "show the mass function corrected for purity and recall, where training objects are in the catalogue"
    )
    regions: int = setting("regions of equal area for the jackknife; 0: none", 0, 200)
    draws: int = setting("draws of each bootstrap", 1, 100_000)
    permutations: int = setting("permutations of the test of colours", 1, 1_000_000)
    listed: int = setting("galaxies with the highest and with the lowest p in Table 2", 1, 1000)
    seed: int = setting("seed of all draws", 0, LARGEST_SEED)

    def problem(self) -> str | None:
        """Say which value makes no sense, and why; None if all do."""
        if len(set(self.cuts)) < len(self.cuts):
            return f"cuts={self.cuts}: one is there twice"
        if self.regions == 1:
            return "regions=1: at least two are needed, or 0 for none"
        if len(self.mass_bins) < 2 or sorted(set(self.mass_bins)) != list(self.mass_bins):
            return f"mass_bins={self.mass_bins}: at least two rising edges are needed"
        if self.k_correct and self.catalogue.redshift[1] > 0.5:
            return "k_correct=true: catalogue.redshift goes beyond 0.5, where the corrections are not known"
        if self.ratings is not None and self.catalogue.columns.p is not None:
            return "ratings and catalogue.columns.p: both give p; leave one of them null"
        if self.published.file is not None and self.catalogue.columns.p_published is not None:
            return "published.file and catalogue.columns.p_published: only one can be compared with"
        columns = self.catalogue.columns
        known = self.catalogue.extinction or {}
        if self.extinction and (left := [each for each in (columns.blue, columns.red) if each not in known]):
            return f"extinction=true: catalogue.extinction names no column of the extinction of {left[0]}"
        return None

    @property
    def folder(self) -> Path:
        """The folder of the sample's tables, figures and page."""
        return Path(absolute_path(self.samples)) / (self.name or self.catalogue.name)
