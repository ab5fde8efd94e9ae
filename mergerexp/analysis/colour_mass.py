"""The colour-mass diagram of a sample, and whether two samples have the same colours (Fig. 12 of the paper).

Two samples that share galaxies are not independent. The Kolmogorov-Smirnov test of the paper compares them
all the same; beside it stand the test without the common galaxies, and a permutation test that keeps these in
both.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import ks_2samp

from mergerexp.analysis.metrics import Floats

MASSES = (7.0, 13.0, 0.05)  # log10(M/M☉): lowest, highest, width of a cell
COLOURS = (-1.0, 5.0, 0.025)  # u - r in magnitudes
ENCLOSED = (0.2, 0.5, 0.8, 0.95)  # the parts of a sample that contours enclose
EXACT = 10_000  # galaxies of a sample up to which the exact distribution of the statistic is used
FEWEST = 2  # galaxies of a sample that is compared


class ColourMassGrid:
    """Counts galaxies in cells of mass and colour, so that any number of them costs the same."""

    def __init__(self) -> None:
        self.masses = _edges(*MASSES)
        self.colours = _edges(*COLOURS)
        self.counts = np.zeros((len(self.masses) - 1, len(self.colours) - 1))

    def add(self, log_mass: ArrayLike, colour: ArrayLike, weight: ArrayLike | None = None) -> None:
        """Count further galaxies; those beyond the edges are left out.

        Parameters
        ----------
        log_mass : array_like of float, shape (n,)
            Masses log10(M/M☉).
        colour : array_like of float, shape (n,)
            Colours u - r in magnitudes.
        weight : array_like of float, shape (n,), optional
            Their weights, 1 if not given.
        """
        m, c = np.asarray(log_mass, dtype=np.float64), np.asarray(colour, dtype=np.float64)
        w = np.ones_like(m) if weight is None else np.asarray(weight, dtype=np.float64)
        self.counts += np.histogram2d(m, c, [self.masses, self.colours], weights=w)[0]

    def density(self, smooth: float) -> Floats:
        """Return the smoothed counts.

        Parameters
        ----------
        smooth : float
            The standard deviation of the Gaussian, in cells.

        Returns
        -------
        ndarray of float, shape (masses, colours)
            Galaxies in each cell.
        """
        return np.asarray(gaussian_filter(self.counts, smooth, mode="constant"))


def _edges(low: float, high: float, width: float) -> Floats:
    return np.linspace(low, high, round((high - low) / width) + 1)


def enclosing_levels(density: ArrayLike, parts: Sequence[float] = ENCLOSED) -> Floats:
    """Return the levels whose contours enclose given parts of all galaxies, in the densest cells first.

    Parameters
    ----------
    density : array_like of float
        Galaxies in cells.
    parts : sequence of float
        The parts, in (0, 1).

    Returns
    -------
    ndarray of float, shape (parts,)
        The levels, which fall as the parts rise.

    Examples
    --------
    >>> enclosing_levels([[4.0, 3.0], [2.0, 1.0]], [0.3, 0.7])
    array([4., 3.])
    """
    cells = np.sort(np.asarray(density, dtype=np.float64).ravel())[::-1]
    within = np.cumsum(cells) / cells.sum()
    return cells[np.minimum(np.searchsorted(within, np.asarray(parts) - 1e-12), len(cells) - 1)]


# Chilingarian, Melchior & Zolotukhin 2010 (MNRAS 405, 1409), as extended to z = 0.5 by Chilingarian &
# Zolotukhin 2012 (MNRAS 419, 1727): coefficients of z^i (u - r)^j, in rows of equal i.
K_CORRECTIONS = {
    "u": (
        (0, 0, 0, 0),
        (10.3686, -6.12658, 2.58748, -0.299322),
        (-138.069, 45.0511, -10.8074, 0.95854),
        (540.494, -43.7644, 3.84259, 0),
        (-1005.28, 10.9763, 0, 0),
        (710.482, 0, 0, 0),
    ),
    "r": (
        (0, 0, 0, 0),
        (3.03458, -1.50775, 0.576228, -0.0754155),
        (-47.8362, 19.0053, -3.15116, 0.286009),
        (154.986, -35.6633, 1.09562, 0),
        (-188.094, 28.1876, 0, 0),
        (68.9867, 0, 0, 0),
    ),
}
FARTHEST = 0.5  # redshift to which they hold


def k_correction(band: str, redshift: ArrayLike, colour: ArrayLike) -> Floats:
    """Return what is subtracted from an observed magnitude of SDSS to get that of the galaxy's own band.

    Parameters
    ----------
    band : str
        The band, u or r.
    redshift : array_like of float, shape (n,)
        Redshifts up to 0.5.
    colour : array_like of float, shape (n,)
        The observed u - r, corrected for Galactic extinction.

    Returns
    -------
    ndarray of float, shape (n,)
        Magnitudes (Chilingarian et al. 2010, equation 1).

    Raises
    ------
    ValueError
        If a redshift is beyond 0.5.

    Examples
    --------
    >>> k_correction("u", [0.05], [2.5]).round(4), k_correction("r", [0.05], [2.5]).round(4)
    (array([0.1833]), array([0.0539]))
    """
    z, c = np.asarray(redshift, dtype=np.float64), np.asarray(colour, dtype=np.float64)
    if (z > FARTHEST).any():
        raise ValueError(f"k-corrections are known up to a redshift of {FARTHEST:g}, not {z.max():g}")
    return np.asarray(np.polynomial.polynomial.polyval2d(z, c, np.array(K_CORRECTIONS[band])))


@dataclass(frozen=True)
class Comparison:
    """Whether two samples have the same distribution of colours.

    Attributes
    ----------
    n, n_other, n_common : int
        The sizes of both samples, and the number of galaxies that are in both.
    statistic, p_value : float
        The two-sample Kolmogorov-Smirnov test, two-sided, of all galaxies. With common galaxies its p-value
        is the paper's, and not valid. NaN where a sample has fewer than two galaxies.
    method : str
        Whether its p-value is exact or asymptotic.
    statistic_apart, p_apart : float
        The same without the common galaxies.
    p_permuted : float
        The probability of a larger statistic of all galaxies if those that are in one sample only could as
        well be in the other.
    permutations : int
        The number of permutations that this is from.
    """

    n: int
    n_other: int
    n_common: int
    statistic: float
    p_value: float
    method: str
    statistic_apart: float
    p_apart: float
    p_permuted: float
    permutations: int


def compare_colours(
    colour: ArrayLike,
    in_sample: ArrayLike,
    in_other: ArrayLike,
    *,
    seed: int,
    permutations: int = 999,
) -> Comparison:
    """Compare the colours of two samples, which may have galaxies in common.

    Parameters
    ----------
    colour : array_like of float, shape (n,)
        The colours of all galaxies of either sample.
    in_sample, in_other : array_like of bool, shape (n,)
        Which of them are in each sample.
    seed : int
        The seed of the permutations.
    permutations : int
        Their number; with 0 their p-value is NaN.

    Returns
    -------
    Comparison
        The tests.

    Raises
    ------
    ValueError
        If a colour is not a number.

    Examples
    --------
    >>> same = compare_colours(np.arange(8.0), [True, False] * 4, [False, True] * 4, seed=0, permutations=99)
    >>> same.n, same.n_common, same.method, same.p_value > 0.5
    (4, 0, 'exact', True)
    """
    values = np.asarray(colour, dtype=np.float64)
    ours, others = np.asarray(in_sample, dtype=bool), np.asarray(in_other, dtype=bool)
    if not np.isfinite(values[ours | others]).all():
        raise ValueError("a colour is not a number")
    common = ours & others
    statistic, p_value, method = _kolmogorov_smirnov(values[ours], values[others])
    apart = _kolmogorov_smirnov(values[ours & ~common], values[others & ~common])
    p_permuted = float("nan")
    if permutations and np.isfinite(apart[1]):
        p_permuted = _permuted(values, ours, others, permutations, np.random.default_rng(seed))
    return Comparison(
        n=int(ours.sum()),
        n_other=int(others.sum()),
        n_common=int(common.sum()),
        statistic=statistic,
        p_value=p_value,
        method=method,
        statistic_apart=apart[0],
        p_apart=apart[1],
        p_permuted=p_permuted,
        permutations=permutations,
    )


def _kolmogorov_smirnov(one: Floats, other: Floats) -> tuple[float, float, str]:
    """Return the statistic, the p-value and its method; NaN for samples that are too small."""
    if min(len(one), len(other)) < FEWEST:
        return float("nan"), float("nan"), "too few galaxies"
    if max(len(one), len(other)) <= EXACT:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # where the exact value can't be computed
            try:
                found = ks_2samp(one, other, method="exact")
                return float(found.statistic), float(found.pvalue), "exact"
            except RuntimeWarning:
                pass
    found = ks_2samp(one, other, method="asymp")
    return float(found.statistic), float(found.pvalue), "asymptotic"


def _permuted(
    values: Floats,
    ours: NDArray[np.bool_],
    others: NDArray[np.bool_],
    permutations: int,
    random: np.random.Generator,
) -> float:
    """Return the p-value of the statistic where galaxies of one sample only are exchanged at random."""
    order = np.argsort(values, kind="stable")
    order = order[(ours | others)[order]]
    mine, theirs, sorted_values = ours[order].copy(), others[order].copy(), values[order]
    last = np.append(sorted_values[1:] != sorted_values[:-1], True)  # equal colours count together

    def statistic() -> float:
        off = np.cumsum(mine) / mine.sum() - np.cumsum(theirs) / theirs.sum()
        return float(np.abs(off[last]).max())

    observed = statistic()
    single = np.flatnonzero(mine != theirs)
    larger = 0
    for _ in range(permutations):
        mine[single] = random.permutation(mine[single])
        theirs[single] = ~mine[single]
        larger += statistic() >= observed - 1e-12
    return (1 + larger) / (1 + permutations)
