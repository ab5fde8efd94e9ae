"""The mass above which a flux-limited sample has all galaxies (Pozzetti et al. 2010, A&A 523, A13).

A galaxy would reach the sample's limit in magnitude if its mass were smaller by 0.4 dex for each magnitude
that it is brighter than that limit. The limit in mass is where that holds for nearly all of the faintest
galaxies at a redshift, since their ratio of mass to light is that of the galaxies which drop out first. It
has to be fitted to the sample that is examined: redder subsamples have a higher one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mergerexp.analysis.metrics import Floats

FAINTEST = 0.2  # the fraction of the galaxies in a redshift bin whose limits count (Pozzetti et al. 2010)
COMPLETE = 0.98  # the fraction of them that lies below the limit
BINS = 16  # of redshift, at most
BIN_CONTENT = 100  # galaxies in a bin of redshift, at least
FEWEST = 60  # galaxies of a sample that a limit is fitted to
GRID = 801  # redshifts at which the limit is kept
DEX_PER_MAGNITUDE = 0.4


@dataclass(frozen=True)
class MassLimit:
    """The mass limit of a sample as a function of redshift, which never falls.

    Attributes
    ----------
    redshift : ndarray of float, shape (n,)
        Increasing redshifts, from the lower to the upper end of the sample.
    log_mass : ndarray of float, shape (n,)
        Masses log10(M/M☉) of the limit at these; linear in between.
    """

    redshift: Floats
    log_mass: Floats

    def at(self, redshift: ArrayLike) -> Floats:
        """Return the limit at some redshifts.

        Parameters
        ----------
        redshift : array_like of float
            Redshifts within the sample's range.

        Returns
        -------
        ndarray of float
            Masses log10(M/M☉), of the shape of ``redshift``.

        Raises
        ------
        ValueError
            If a redshift is outside of the range.
        """
        z = np.asarray(redshift, dtype=np.float64)
        low, high = self.redshift[0], self.redshift[-1]
        if not ((z >= low) & (z <= high)).all():
            raise ValueError(f"there is a redshift outside of {low:g} to {high:g}, where the limit is known")
        return np.asarray(np.interp(z, self.redshift, self.log_mass))

    def farthest(self, log_mass: ArrayLike) -> Floats:
        """Return the largest redshift at which galaxies of some masses are in the sample.

        Parameters
        ----------
        log_mass : array_like of float
            Masses log10(M/M☉).

        Returns
        -------
        ndarray of float
            Redshifts, of the shape of ``log_mass``; the lower end of the range for masses below the limit
            everywhere.

        Examples
        --------
        >>> limit = MassLimit(np.array([0.02, 0.04, 0.06]), np.array([9.0, 10.0, 10.0]))
        >>> limit.farthest([8.0, 9.5, 10.0, 12.0])
        array([0.02, 0.03, 0.06, 0.06])
        """
        m = np.asarray(log_mass, dtype=np.float64)
        after = np.clip(np.searchsorted(self.log_mass, m, side="right"), 1, len(self.log_mass) - 1)
        low, high = self.log_mass[after - 1], self.log_mass[after]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(high > low, (m - low) / (high - low), np.where(m >= high, 1.0, 0.0))
        z = self.redshift
        return np.asarray(z[after - 1] + np.clip(share, 0.0, 1.0) * (z[after] - z[after - 1]))

    def not_below(self, log_mass: float) -> MassLimit:
        """Return the limit of that part of the sample which is heavier than some mass.

        Parameters
        ----------
        log_mass : float
            Masses log10(M/M☉).

        Returns
        -------
        MassLimit
            The stricter of both at each redshift.
        """
        return MassLimit(self.redshift, np.maximum(self.log_mass, log_mass))


@dataclass(frozen=True)
class LimitFit:
    """A fitted mass limit, and what it was fitted to.

    Attributes
    ----------
    limit : MassLimit
        The limit.
    bins : DataFrame
        A row for each redshift bin and cut: cut (its number), z (the median of its faintest galaxies),
        z_low, z_high, n (galaxies), faint (how many of them are the faintest) and log_mass (their limit).
    coefficients : tuple of tuple of float
        The polynomial in log10(z) of each cut, the highest power first.
    error : ndarray of float, shape (n,)
        The standard deviation of the limit at its redshifts, from a bootstrap of the galaxies of each bin.
    """

    limit: MassLimit
    bins: pd.DataFrame
    coefficients: tuple[tuple[float, ...], ...]
    error: Floats


def fit_mass_limit(
    redshift: ArrayLike,
    log_mass: ArrayLike,
    margin: ArrayLike,
    between: tuple[float, float],
    *,
    seed: int,
    draws: int = 100,
    complete: float = COMPLETE,
) -> LimitFit:
    """Fit the mass limit of a sample.

    Redshift bins hold equally many galaxies, so that small samples have fewer of them. In each, the limit is
    a high quantile of the masses that its faintest fifth would have at the sample's limit in magnitude. The
    limit is a quadratic polynomial in log z, with the bins weighted by the square roots of their numbers,
    flat below the first bin, and made to never fall with z. Where several cuts limit a sample, each has a
    polynomial, and the highest holds.

    Parameters
    ----------
    redshift, log_mass : array_like of float, shape (n,)
        The redshifts and log10(M/M☉) of the galaxies of the sample.
    margin : array_like of float, shape (n,) or (n, cuts)
        By how many magnitudes each is brighter than the limit of the sample, for each cut.
    between : tuple of float
        The lower and upper redshift of the sample.
    seed : int
        The seed of the bootstrap.
    draws : int
        The number of its draws; without any, the error is NaN.
    complete : float
        The quantile. Pozzetti et al. take 0.95, which leaves out so many galaxies just above the limit that α
        of a steep mass function comes out too large by half its error, on mocks of 10,000 galaxies; 0.98 does
        not.

    Returns
    -------
    LimitFit
        The limit and its error.

    Raises
    ------
    ValueError
        If there are fewer than 60 galaxies in the range of redshifts, or some are fainter than the limit.

    Examples
    --------
    >>> z = np.linspace(0.02, 0.06, 400)
    >>> fit = fit_mass_limit(z, 10 + 2 * np.log10(z / 0.04), np.zeros(400), (0.02, 0.06), seed=0, draws=5)
    >>> bool(abs(fit.limit.at(0.04) - 10) < 0.1)
    True
    """
    z, m = np.asarray(redshift, dtype=np.float64), np.asarray(log_mass, dtype=np.float64)
    bright = np.asarray(margin, dtype=np.float64).reshape(len(z), -1)
    low, high = between
    inside = (z >= low) & (z <= high)
    z, m, bright = z[inside], m[inside], bright[inside]
    if len(z) < FEWEST:
        raise ValueError(
            f"{len(z)} galaxies between redshifts of {low:g} and {high:g} are too few for a mass limit; "
            f"{FEWEST} are needed"
        )
    if (bright < 0).any():
        raise ValueError(
            f"{(bright < 0).any(axis=1).sum()} galaxies are fainter than the limit of their sample, by up to "
            f"{-bright.min():.2f} mag"
        )
    order = np.argsort(z, kind="stable")
    parts = np.array_split(order, min(BINS, max(2, len(z) // BIN_CONTENT)))
    grid = np.linspace(low, high, GRID)

    bins = _bins(z, m, bright, parts, complete)
    random = np.random.default_rng(seed)
    curves = []
    for _ in range(draws):
        drawn = [random.choice(part, len(part)) for part in parts]
        curves.append(_curve(_bins(z, m, bright, drawn, complete), grid))
    error = np.std(curves, axis=0) if curves else np.full(GRID, np.nan)
    coefficients = tuple(tuple(_polynomial(each).tolist()) for _, each in bins.groupby("cut"))
    return LimitFit(MassLimit(grid, _curve(bins, grid)), bins, coefficients, error)


def _bins(
    z: Floats, log_mass: Floats, margin: Floats, parts: list[NDArray[np.int64]], complete: float
) -> pd.DataFrame:
    """Return the mass limits of all redshift bins, for each cut."""
    cuts = range(margin.shape[1])
    return pd.DataFrame(
        [
            {"cut": cut, **_bin(z[part], log_mass[part], margin[part, cut], complete)}
            for cut in cuts
            for part in parts
        ]
    )


def _bin(z: Floats, log_mass: Floats, margin: Floats, complete: float) -> dict[str, float]:
    """Return the mass limit of a redshift bin."""
    limits = log_mass - DEX_PER_MAGNITUDE * margin
    faint = margin <= np.quantile(margin, FAINTEST)
    return {
        "z": float(np.median(z[faint])),
        "z_low": float(z.min()),
        "z_high": float(z.max()),
        "n": len(z),
        "faint": int(faint.sum()),
        "log_mass": float(np.quantile(limits[faint], complete)),
    }


def _polynomial(bins: pd.DataFrame) -> NDArray[np.float64]:
    degree = min(2, len(bins) - 1)
    x, y, n = (bins[name].to_numpy(dtype=np.float64) for name in ("z", "log_mass", "faint"))
    return np.asarray(np.polyfit(np.log10(x), y, degree, w=np.sqrt(n)))


def _curve(bins: pd.DataFrame, grid: Floats) -> Floats:
    """Return the highest of the polynomials of all cuts, made to never fall.

    Below the first bin they are flat: extrapolated, they may rise there, and with them all that follows.
    """
    values = [
        np.polyval(_polynomial(of_cut), np.log10(np.maximum(grid, of_cut["z"].iloc[0])))
        for _, of_cut in bins.groupby("cut")
    ]
    return np.asarray(np.maximum.accumulate(np.max(values, axis=0)))
