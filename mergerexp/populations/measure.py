"""The numbers of a sample, in two passes over its galaxies, whose memory does not grow with their number.

Only classified mergers, of which there are few, are held at once, to find their systems, and those that only
one of two catalogues has.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from mergerexp.analysis.colour_mass import ColourMassGrid
from mergerexp.analysis.completeness import fit_mass_limit
from mergerexp.analysis.mass_function import SINGLE, Schechter
from mergerexp.analysis.purity import fit_prevalence
from mergerexp.analysis.sky import COLUMNS, ROWS, Regions, equal_areas, pixels
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.console import ProgressReport, amount
from mergerexp.populations.colours import REST, compare_kinds
from mergerexp.populations.draws import Draw, Ends
from mergerexp.populations.functions import (
    Effort,
    Grids,
    MassFunction,
    measure_mass_function,
    number_density,
)
from mergerexp.populations.galaxies import Galaxies
from mergerexp.populations.gather import Gathered
from mergerexp.populations.kinds import (
    ALL,
    CLASSIFIED,
    OBJECTS,
    SYSTEMS,
    VISUAL,
    Members,
    corrected_kind,
    counted,
    counted_as,
    fit_chances,
    further_cuts,
    is_usual,
    log_ratio,
    of_mass,
    principal_kinds,
    weighted_kind,
)
from mergerexp.populations.published import Comparing
from mergerexp.populations.results import Sample

log = logging.getLogger(__name__)
DRAWN = 50_000  # galaxies of each kind that mass limits and chances are fitted to
DECIDING = 20  # draws with which a p-value can be below 0.05
PER_PIXEL = 3  # galaxies of a square degree, below which the footprint is not known
SHOWN = 3000  # galaxies in a figure
NO_AREA = 1000.0  # square degrees, in place of an area that is not known


def measure(
    cfg: SampleConfig,
    gathered: Gathered,
    prevalence: float | None,
    calibrated_at: float | None,
    truth: dict[str, Schechter],
) -> Sample:
    """Measure everything about a sample.

    Parameters
    ----------
    cfg
        The settings.
    gathered
        The galaxies.
    prevalence, calibrated_at
        The fractions of mergers that p_prior and p_calibrated refer to; None where not known.
    truth
        The true mass functions of a mock survey.
    """
    columns = gathered.catalogue.columns
    kinds = principal_kinds(cfg, columns.visual is not None, columns.p is not None)
    sample = Sample(cfg, gathered, prevalence, calibrated_at, kinds, truth=truth)
    first = _FirstPass(sample)
    with ProgressReport("looking at the galaxies", gathered.rows) as progress:
        for part in gathered.parts():
            first.add(part)
            progress.advance(len(part))
    first.finish()
    _Second(sample, first).run()
    return sample


class _FirstPass:
    """What has to be known before galaxies can be counted: mass limits, the footprint, chances.

    Parameters
    ----------
    sample
        The sample, which gets what is found.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample, cfg = sample, sample.cfg
        self.has_p = any(kind.name == CLASSIFIED for kind in sample.kinds)
        self.cuts = further_cuts(cfg) if self.has_p else []
        self.footprint = np.zeros(ROWS * COLUMNS, dtype=np.int64)
        self.draws = {kind.name: Draw(DRAWN) for kind in [*sample.kinds, *self.cuts]}
        self.known = Draw(DRAWN)  # visual mergers among training objects
        self.ends = {end: Ends(cfg.listed, end == "top") for end in ("top", "bottom")}
        self.best = Ends(cfg.page.pictures, highest=True)
        self.classified: list[Members] = []
        self.uncalibrated = 0
        self.above: dict[tuple[float, int], NDArray[np.float64]] = {}
        self.comparing: Comparing | None = None
        if self.has_p and sample.gathered.catalogue.columns.p_published is not None:
            self.comparing = Comparing(cfg.cut, cfg.cuts, cfg.published.beside)

    def add(self, part: Galaxies) -> None:
        """Look at further galaxies."""
        self.footprint += np.bincount(pixels(part.ra, part.dec), minlength=ROWS * COLUMNS)
        for kind in [*self.sample.kinds, *self.cuts]:
            self.draws[kind.name].add(part.take(kind.members(part)))
        if not self.has_p:
            return
        self.classified.append(Members.of(part.take(part.p > self.sample.cfg.cut)))
        self.known.add(part.take(part.visual & part.in_training_set & ~np.isnan(part.p_one)))
        self.uncalibrated += int(((part.p_one > self.sample.cfg.cut) & np.isnan(part.p_calibrated)).sum())
        for end in (*self.ends.values(), self.best):
            end.add(part)
        if self.comparing is not None:
            self.comparing.add(part)
        for cut in self.sample.cfg.cuts:
            for networks in np.unique(part.n_models).astype(int):
                rows = (part.p > cut) & (part.n_models == networks)
                sums = self.above.setdefault((cut, int(networks)), np.zeros(3))
                prior = part.p_prior[rows]
                sums += rows.sum(), np.nansum(prior), (~np.isnan(prior)).sum()

    def finish(self) -> None:
        """Fit mass limits and chances."""
        sample, cfg = self.sample, self.sample.cfg
        sample.footprint = self.footprint
        between = (cfg.catalogue.redshift[0], cfg.catalogue.redshift[1])
        for kind in [*sample.kinds, *self.cuts]:
            draw = self.draws[kind.name]
            sample.sizes[kind.name] = draw.total
            try:
                drawn = draw.galaxies()
                sample.shown[kind.name] = drawn.take(np.arange(min(SHOWN, len(drawn))))
                sample.limits[kind.name] = fit_mass_limit(
                    drawn.redshift, kind.mass(drawn), drawn.margin, between,
                    seed=cfg.seed, draws=cfg.draws, complete=cfg.complete,
                )  # fmt: skip
            except ValueError as reason:
                sample.notes.append(f"There is no mass function of {kind.title}: {reason}.")
        if not self.has_p:
            return
        sample.top, sample.bottom = self.ends["top"].galaxies(), self.ends["bottom"].galaxies()
        sample.best = self.best.galaxies()
        sample.counts = self._counts()
        sample.variants = [each for each in self.cuts if each.name in sample.limits]
        if sample.gathered.catalogue.columns.p_prior is not None:
            sample.variants.append(weighted_kind())
        if cfg.correct:
            self._fit_chances()
        if self.comparing is not None:
            try:
                sample.published = self.comparing.finish(sample.gathered.published_only)
            except ValueError as reason:
                sample.notes.append(f"Ratings are not compared with the published ones: {reason}.")

    def _counts(self) -> list[dict[str, Any]]:
        """Return how many galaxies lie above each cut, with the limits of a Poisson distribution."""
        most = max((networks for _, networks in self.above), default=0)
        rows = []
        for cut in self.sample.cfg.cuts:
            for is_all in (True, False):
                found = [
                    sums for (at, networks), sums in self.above.items()
                    if at == cut and (networks == most) == is_all
                ]  # fmt: skip
                n, expected, known = np.sum(found, axis=0) if found else (0, 0.0, 0)
                if not is_all and not n:
                    continue
                is_told = self.sample.gathered.catalogue.columns.n_models is not None
                networks = (str(most) if is_all else "fewer") if is_told else "not told"
                low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
                rows.append(
                    {
                        "p_above": cut, "networks": networks, "n": int(n),
                        "low": float(low), "high": float(chi2.ppf(0.975, 2 * (n + 1)) / 2),
                        "expected_purity": float(expected / known) if known else None,
                    }
                )  # fmt: skip
        return rows

    def _fit_chances(self) -> None:
        """Fit how recall and prevalence depend on galaxies, from training objects and all ratings."""
        sample, why = self.sample, None
        rated = self.draws[ALL].galaxies()
        rated = rated.take(~np.isnan(rated.p_calibrated))
        if sample.calibrated_at is None:
            why = "the prevalence that p_calibrated refers to is not known (catalogue.calibrated_at)"
        elif not len(self.known):
            why = "no visual merger of the training set is in the catalogue with its rating"
        else:
            try:
                ratio = log_ratio(rated, sample.calibrated_at)
                prevalence = fit_prevalence(of_mass(rated), ratio)
                sample.chances = fit_chances(
                    self.known.galaxies(), prevalence, sample.calibrated_at, sample.cfg.cut
                )
                sample.variants.append(corrected_kind(sample.cfg, sample.chances))
            except ValueError as reason:
                why = str(reason)
        if why is not None:
            sample.notes.append(f"The mass function is not corrected for purity and recall: {why}.")
        elif self.uncalibrated:
            sample.notes.append(
                f"{amount(self.uncalibrated, 'classified merger')} without p_calibrated can't count in the "
                "corrected mass function."
            )


class _Second:
    """Counts galaxies in cells, and computes everything from these.

    Parameters
    ----------
    sample
        The sample, which gets what is found.
    first
        What the first pass has found.
    """

    def __init__(self, sample: Sample, first: _FirstPass) -> None:
        self.sample, self.first, self.cfg = sample, first, sample.cfg
        self.regions = self._regions()
        kinds = [*sample.kinds, *sample.variants]
        self.kinds = [kind for kind in kinds if kind.limit in sample.limits]
        self.masses = {kind.name: self._grids(kind.limit) for kind in self.kinds}
        sample.grids = {kind.name: (ColourMassGrid(), ColourMassGrid()) for kind in sample.kinds}
        self.merging = Draw(DRAWN)  # mergers of any kind, whose colours are compared

    def run(self) -> None:
        """Count, measure mass functions, and compare colours."""
        with ProgressReport("counting galaxies", self.sample.gathered.rows) as progress:
            for part in self.sample.gathered.parts():
                self._add(part)
                progress.advance(len(part))
        self._measure_functions()
        self._compare()

    def _regions(self) -> Regions | None:
        wanted, footprint = self.cfg.regions, self.first.footprint
        if not wanted:
            return None
        try:
            if footprint.sum() < PER_PIXEL * (footprint > 0).sum():
                raise ValueError(f"there are fewer than {PER_PIXEL} galaxies a square degree")
            return equal_areas(footprint, wanted)
        except ValueError as reason:
            self.sample.notes.append(f"There is no jackknife over the sky: {reason}.")
            return None

    def _grids(self, limit: str) -> Grids:
        return Grids.of(self.sample.limits[limit].limit, self.regions)

    def _region(self, galaxies: Galaxies | Members) -> NDArray[np.int64] | None:
        return None if self.regions is None else self.regions.at(galaxies.ra, galaxies.dec)

    def _add(self, part: Galaxies) -> None:
        region = self._region(part)
        for kind in self.kinds:
            rows = kind.members(part)
            members = part.take(rows)
            self.masses[kind.name].add(
                kind.mass(members), members.redshift, kind.weight(members),
                None if region is None else region[rows],
            )  # fmt: skip
        farthest = self.cfg.catalogue.redshift[1]
        for kind in self.sample.kinds:
            rows = kind.members(part) & np.isfinite(part.colour)
            members = part.take(rows)
            everything, cut = self.sample.grids[kind.name]
            everything.add(members.log_mass, members.colour, members.weight)
            if ALL in self.sample.limits:
                heavy = members.take(members.log_mass >= self.sample.limits[ALL].limit.at(farthest))
                cut.add(heavy.log_mass, heavy.colour, heavy.weight)
        merging = part.visual | (part.p > self.cfg.cut)
        self.merging.add(part.take(merging & np.isfinite(part.colour)))

    def _measure_functions(self) -> None:
        """Measure all mass functions, first that of all galaxies, which others may be relative to."""
        area = self.cfg.catalogue.area
        self.sample.is_absolute = area is not None
        effective = NO_AREA if area is None else area * self.cfg.catalogue.completeness
        if not is_usual(self.cfg) and CLASSIFIED in self.masses:
            self.masses[CLASSIFIED] = self._counted(self.cfg.count, self.cfg.mass)
        if self.cfg.draws < DECIDING:
            self.sample.notes.append(
                f"draws={self.cfg.draws}: no double Schechter function can be chosen with fewer than "
                f"{DECIDING}."
            )
        for kind in self.kinds:
            log.info("mass function of %s", kind.title)
            title = kind.title
            if kind.name == CLASSIFIED and not is_usual(self.cfg):
                title += f", {counted(self.cfg.count, self.cfg.mass)}"
            found = self._function(kind.name, title, self.masses[kind.name], kind.limit, effective)
            if area is None and kind.name == ALL and found is not None:
                effective *= number_density(found.fit, float(found.limit.limit.log_mass[0]))
                found = self._function(kind.name, title, self.masses[kind.name], kind.limit, effective)
            if area is None and ALL not in self.sample.functions and (kind.name != ALL or found is None):
                self.sample.notes.append(
                    "There are no mass functions: without an area they are relative to that of all galaxies."
                )
                return
            if found is not None:
                self.sample.functions[kind.name] = found
                if self.regions is not None and found.jackknife is None:
                    self.sample.notes.append(
                        f"There is no jackknife of {kind.title}: too few are left without one of the regions."
                    )
        if CLASSIFIED in self.sample.functions:
            self._count_systems(effective)

    def _function(self, name: str, title: str, grids: Grids, limit: str, area: float) -> MassFunction | None:
        effort = Effort(
            self.cfg.draws, self.cfg.seed, name in (ALL, VISUAL, CLASSIFIED) and self.cfg.draws >= DECIDING
        )
        try:
            return measure_mass_function(
                name, title, grids, self.sample.limits[limit], area, self.regions, self.cfg.bin_width, effort
            )
        except ValueError as reason:
            self.sample.notes.append(f"There is no mass function of {title}: {reason}.")
            return None

    def _counted(self, count: str, mass: str) -> Grids:
        """Count classified mergers as objects or systems."""
        mergers = Members(*map(np.concatenate, zip(*self.first.classified, strict=True)))
        limit = self.sample.limits[CLASSIFIED].limit
        is_seen = mergers.log_mass >= limit.at(mergers.redshift)
        masses, weights = counted_as(mergers, count, mass, self.cfg, is_seen)
        grids = self._grids(CLASSIFIED)
        grids.add(masses, mergers.redshift, weights, self._region(mergers))
        return grids

    def _count_systems(self, area: float) -> None:
        """Measure the mass function of classified mergers as objects and as systems, beside the usual one."""
        usual = self.sample.functions[CLASSIFIED]
        for name, count, mass in ((OBJECTS, "objects", "each"), (SYSTEMS, "systems", "primary")):
            title = counted(count, mass)
            if (count, mass) == (self.cfg.count, self.cfg.mass) and usual.fit.family is SINGLE:
                self.sample.functions[name] = replace(usual, name=name, title=title, choice=None)
                continue
            found = self._function(name, title, self._counted(count, mass), CLASSIFIED, area)
            if found is not None:
                self.sample.functions[name] = found

    def _compare(self) -> None:
        """Compare the colours of mergers with each other and with those of other galaxies."""
        present = [name for name in (CLASSIFIED, VISUAL) if self.sample.sizes.get(name)]
        if not present or not len(self.merging):
            return
        if len(self.merging) < self.merging.total:
            self.sample.notes.append(
                f"Colours are compared for {len(self.merging)} of {amount(self.merging.total, 'merger')}, "
                "drawn at random."
            )
        if len(drawn := self.first.draws[ALL]) < drawn.total:
            self.sample.notes.append(
                f"Colours of mergers are compared with those of {len(drawn):,} of {drawn.total:,} galaxies, "
                "drawn at random."
            )
        everything = drawn.galaxies()
        is_merger = everything.visual | (everything.p > self.cfg.cut)
        rest = everything.take(~is_merger & np.isfinite(everything.colour))
        pairs = [(CLASSIFIED, VISUAL)] if len(present) > 1 else []
        pairs += [(name, REST) for name in present]
        self.sample.colour_tests = compare_kinds(self.merging.galaxies(), rest, pairs, self.cfg)
