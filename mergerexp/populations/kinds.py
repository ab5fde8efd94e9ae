"""Which galaxies of a catalogue are mergers: by eye, by a classifier, or with some probability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mergerexp.analysis.metrics import Floats
from mergerexp.analysis.purity import Logistic, corrected_weights, fit_recall, posterior
from mergerexp.analysis.sky import systems
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.galaxies import Flags, Galaxies
from mergerexp.populations.gather import hash_of

SMALLEST = 1e-9  # a probability nearer to 0 or 1 counts as this near
ALL, VISUAL, CLASSIFIED = "all", "visual", "classified"
WEIGHTED, CORRECTED, OBJECTS, SYSTEMS = "weighted", "corrected", "objects", "systems"


@dataclass(frozen=True)
class Kind:
    """Galaxies that belong together.

    Attributes
    ----------
    name, title
        The name in files, and in words.
    members
        Tells which galaxies belong to it.
    mass
        Returns the masses of its members.
    weight
        Returns what each of its members counts as.
    limit
        The kind whose mass limit it has: its own, if it is fitted to it.
    """

    name: str
    title: str
    members: Callable[[Galaxies], Flags]
    mass: Callable[[Galaxies], Floats]
    weight: Callable[[Galaxies], Floats]
    limit: str


def own_mass(galaxies: Galaxies) -> Floats:
    """Return the masses of galaxies."""
    return galaxies.log_mass


def own_weight(galaxies: Galaxies) -> Floats:
    """Return the weights of galaxies."""
    return galaxies.weight


def everything(galaxies: Galaxies) -> Flags:
    """Tell that all galaxies belong to a kind."""
    return np.ones(len(galaxies), dtype=bool)


def above(cut: float) -> Callable[[Galaxies], Flags]:
    """Return what tells which galaxies have a p above a cut."""
    return lambda galaxies: galaxies.p > cut  # False where there is none


def cut_name(cut: float) -> str:
    """Return the name of the mergers above a cut."""
    return f"p_above_{cut:g}".replace(".", "_")


def principal_kinds(cfg: SampleConfig, with_visual: bool, with_p: bool) -> list[Kind]:
    """Return all galaxies, mergers by eye and classified mergers, as far as a catalogue tells them."""
    kinds = [Kind(ALL, "all galaxies", everything, own_mass, own_weight, ALL)]
    if with_visual:
        kinds.append(
            Kind(VISUAL, "visual mergers", lambda each: each.visual, lambda each: each.visual_log_mass,
                 own_weight, VISUAL)
        )  # fmt: skip
    if with_p:
        title = f"classified mergers, p > {cfg.cut:g}"
        kinds.append(Kind(CLASSIFIED, title, above(cfg.cut), own_mass, own_weight, CLASSIFIED))
    return kinds


def further_cuts(cfg: SampleConfig) -> list[Kind]:
    """Return the mergers above the other cuts."""
    return [
        Kind(cut_name(cut), f"p > {cut:g}", above(cut), own_mass, own_weight, cut_name(cut))
        for cut in cfg.cuts
        if cut != cfg.cut
    ]


def weighted_kind() -> Kind:
    """Return all rated galaxies, each of which counts as its probability at the survey's prevalence."""
    return Kind(
        WEIGHTED,
        "every galaxy counted as its p_prior",
        lambda galaxies: ~np.isnan(galaxies.p_prior),
        own_mass,
        lambda galaxies: galaxies.weight * galaxies.p_prior,
        CLASSIFIED,
    )


@dataclass(frozen=True)
class Chances:
    """What corrects a sample for galaxies that it misses and that do not belong to it.

    Attributes
    ----------
    recall
        The chance that a merger is selected, by `of_galaxy`.
    prevalence
        The fraction of mergers among galaxies, by `of_mass`.
    calibrated_at
        The prevalence at which p_calibrated holds.
    """

    recall: Logistic
    prevalence: Logistic
    calibrated_at: float

    def weights(self, galaxies: Galaxies) -> Floats:
        """Return what selected galaxies count as."""
        local = posterior(self.prevalence.at(of_mass(galaxies)), log_ratio(galaxies, self.calibrated_at))
        variables = of_galaxy(galaxies)[:, : len(self.recall.centre)]
        # Where a variable is not known, it is taken to be that of a typical merger.
        known = np.where(np.isfinite(variables), variables, self.recall.centre)
        return galaxies.weight * corrected_weights(local, self.recall.at(known))


def fit_chances(known: Galaxies, prevalence: Logistic, calibrated_at: float, cut: float) -> Chances:
    """Fit the recall to mergers that are known, by ratings of networks that were not trained on them.

    Raises
    ------
    ValueError
        If there are too few.
    """
    variables = of_galaxy(known)
    with_size = np.isfinite(variables[:, -1]).mean() > 0.5
    variables = variables if with_size else variables[:, :-1]
    whole = np.isfinite(variables).all(axis=1)
    recall = fit_recall(variables[whole], known.p_one[whole] > cut)
    return Chances(recall, prevalence, calibrated_at)


def of_galaxy(galaxies: Galaxies) -> Floats:
    """Return what the recall depends on: magnitude, log redshift and log size; NaN where not known."""
    return np.column_stack([galaxies.magnitude, np.log10(galaxies.redshift), galaxies.log_size])


def of_mass(galaxies: Galaxies) -> Floats:
    """Return what the prevalence depends on: the mass, its square, and the logarithm of the redshift."""
    off = galaxies.log_mass - 10.5
    return np.column_stack([off, off**2, np.log10(galaxies.redshift)])


def log_ratio(galaxies: Galaxies, calibrated_at: float) -> Floats:
    """Return the logarithm of the ratio of the likelihoods of each rating, from the calibrated p."""
    p = np.clip(galaxies.p_calibrated, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(p / (1 - p)) - np.log(calibrated_at / (1 - calibrated_at)))


def corrected_kind(cfg: SampleConfig, chances: Chances) -> Kind:
    """Return mergers by the rating of one network, whose recall is known, corrected for purity and recall."""
    return Kind(
        CORRECTED,
        f"p > {cfg.cut:g}, corrected for purity and recall",
        lambda galaxies: (galaxies.p_one > cfg.cut) & ~np.isnan(galaxies.p_calibrated),
        own_mass,
        chances.weights,
        CLASSIFIED,
    )


class Members(NamedTuple):
    """What is held of all classified mergers at once: a number made of the id, place, mass and weight."""

    key: NDArray[np.uint64]
    ra: Floats
    dec: Floats
    redshift: Floats
    log_mass: Floats
    weight: Floats

    @classmethod
    def of(cls, galaxies: Galaxies) -> Members:
        """Take them from galaxies."""
        key = hash_of(pa.array(galaxies.id, pa.string()))
        return cls(key, galaxies.ra, galaxies.dec, galaxies.redshift, galaxies.log_mass, galaxies.weight)


def is_usual(cfg: SampleConfig) -> bool:
    """Tell whether each merger counts as one, with its own mass, as in the paper."""
    return (cfg.count, cfg.mass) == (OBJECTS, "each")


def counted(count: str, mass: str) -> str:
    """Return in words what counts as a merger."""
    return f"{count}, mass of {'each' if mass == 'each' else 'the heaviest of the system'}"


def counted_as(
    galaxies: Members, count: str, mass: str, cfg: SampleConfig, is_seen: Flags
) -> tuple[Floats, Floats]:
    """Return the mass and the weight of mergers that are counted as objects or as systems.

    Parameters
    ----------
    galaxies
        All mergers.
    count
        Whether each object counts as one, or each system.
    mass
        Whether an object has its own mass, or that of the heaviest of its system. A system that is counted
        once has that of its heaviest member; or, with ``mass=each``, each member counts as a part of it.
    cfg
        What links the members of a system.
    is_seen
        Which mergers are above the mass limit at their redshift. The others may link a system, but are no
        part of it that counts.

    Returns
    -------
    mass, weight
        For each object; the weight is 0 for those that another one of the system stands for, and for those
        below the limit.
    """
    system = systems(galaxies.ra, galaxies.dec, galaxies.redshift, cfg.link_kpc, cfg.link_velocity)
    sizes = np.bincount(system, is_seen)
    heaviest = np.full(len(sizes), -np.inf)
    np.maximum.at(heaviest, system[is_seen], galaxies.log_mass[is_seen])
    masses = (
        np.where(is_seen, heaviest[system], galaxies.log_mass) if mass == "primary" else galaxies.log_mass
    )
    weight = np.where(is_seen, galaxies.weight, 0.0)
    if count == "objects":
        return masses, weight
    if mass == "each":
        return masses, weight / np.maximum(sizes[system], 1)
    order = np.lexsort((galaxies.key, -galaxies.log_mass, ~is_seen, system))
    first = np.zeros(len(system), dtype=bool)
    first[order] = np.append(True, system[order][1:] != system[order][:-1])
    return masses, np.where(first, weight, 0.0)
