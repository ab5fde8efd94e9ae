"""Schechter functions of stellar mass, with one component or two (Weigel et al. 2016, MNRAS 459, 2150, §2).

With m = log10(M / M☉), x = 10^(m - m*) and a number density per dex,

    Φ(m) = ln 10 · exp(-x) · Σ_c Φ_c x^(α_c + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from mergerexp.analysis.metrics import Floats

LN10 = float(np.log(10.0))
LARGEST = 700.0  # of an exponent, before it overflows


@dataclass(frozen=True)
class Schechter:
    """A Schechter function.

    Attributes
    ----------
    log_mass : float
        The characteristic mass log10(M*/M☉), common to all components.
    alpha : tuple of float
        The slope of each component at low masses.
    log_phi : tuple of float
        log10 of each component's density Φ*, in the unit of the density that is wanted, such as h³ Mpc⁻³.
    """

    log_mass: float
    alpha: tuple[float, ...]
    log_phi: tuple[float, ...]

    def density(self, log_mass: ArrayLike) -> Floats:
        """Return Φ, per dex.

        Parameters
        ----------
        log_mass : array_like of float
            Masses log10(M/M☉).

        Returns
        -------
        ndarray of float
            The density, in the unit of Φ*, of the shape of ``log_mass``.

        Examples
        --------
        >>> at_knee = Schechter(10.8, (-0.6,), (-3.0,)).density(10.8)
        >>> round(float(at_knee) / (1e-3 * LN10 / np.e), 12)
        1.0
        """
        u = LN10 * (np.asarray(log_mass, dtype=np.float64) - self.log_mass)
        powers = [
            10**phi * np.exp((alpha + 1) * u) for alpha, phi in zip(self.alpha, self.log_phi, strict=True)
        ]
        return np.asarray(LN10 * np.exp(-np.minimum(10 ** (u / LN10), LARGEST)) * sum(powers))


class Family(Protocol):
    """Schechter functions with some number of components, as a fit varies them.

    Attributes
    ----------
    names
        The names of the parameters.
    starts
        Parameters from which fits start.
    bounds
        The limits of each parameter.
    """

    names: tuple[str, ...]
    starts: tuple[tuple[float, ...], ...]
    bounds: tuple[tuple[float, float], ...]

    def log_shape(self, log_mass: Floats, parameters: Floats) -> tuple[Floats, Floats]:
        """Return ln Φ with Φ* = 1 for the first component, and its derivatives.

        Parameters
        ----------
        log_mass : ndarray of float, shape (n,)
            Masses log10(M/M☉).
        parameters : ndarray of float, shape (k,)
            The parameters.

        Returns
        -------
        values : ndarray of float, shape (n,)
            The logarithms.
        derivatives : ndarray of float, shape (k, n)
            Their derivatives with respect to the parameters.
        """

    def function(self, parameters: Floats, log_phi: float) -> Schechter:
        """Return a function of the family.

        Parameters
        ----------
        parameters : ndarray of float, shape (k,)
            The parameters of the shape.
        log_phi : float
            The logarithm log10(Φ*) of the first component.

        Returns
        -------
        Schechter
            The function.
        """


class Single:
    """Schechter functions of one component, with the parameters log10(M*/M☉) and α."""

    names: tuple[str, ...] = ("log_mass", "alpha")
    starts: tuple[tuple[float, ...], ...] = ((10.6, -0.5), (10.9, -1.2), (11.1, -1.0))
    bounds: tuple[tuple[float, float], ...] = ((7.0, 13.0), (-3.0, 5.0))

    def log_shape(self, log_mass: Floats, parameters: Floats) -> tuple[Floats, Floats]:
        """Return ln Φ with Φ* = 1, and its derivatives.

        Parameters
        ----------
        log_mass : ndarray of float, shape (n,)
            Masses log10(M/M☉).
        parameters : ndarray of float, shape (k,)
            The parameters.

        Returns
        -------
        values : ndarray of float, shape (n,)
            The logarithms.
        derivatives : ndarray of float, shape (k, n)
            Their derivatives with respect to the parameters.
        """
        knee, alpha = parameters
        u = LN10 * (log_mass - knee)
        x = np.exp(np.minimum(u, np.log(LARGEST)))
        values = np.log(LN10) + (alpha + 1) * u - x
        return values, np.stack([LN10 * (x - alpha - 1), u])

    def function(self, parameters: Floats, log_phi: float) -> Schechter:
        """Return a function of one component.

        Parameters
        ----------
        parameters : ndarray of float, shape (k,)
            The parameters of the shape.
        log_phi : float
            The logarithm log10(Φ*) of the first component.

        Returns
        -------
        Schechter
            The function.
        """
        return Schechter(float(parameters[0]), (float(parameters[1]),), (float(log_phi),))


class Double:
    """Schechter functions of two components with a common M*.

    The parameters are log10(M*/M☉), α of the steeper component, by how much α of the other is larger, and the
    logarithm of how many times larger that one's Φ* is.
    """

    names: tuple[str, ...] = ("log_mass", "alpha_1", "alpha_2 - alpha_1", "ln(phi_2/phi_1)")
    starts: tuple[tuple[float, ...], ...] = (
        (10.8, -1.6, 1.0, 1.0),
        (10.7, -1.4, 1.1, 0.3),
        (10.7, -1.8, 0.8, 3.0),
    )
    bounds: tuple[tuple[float, float], ...] = ((7.0, 13.0), (-4.0, 3.0), (0.05, 6.0), (-8.0, 14.0))

    def log_shape(self, log_mass: Floats, parameters: Floats) -> tuple[Floats, Floats]:
        """Return ln Φ with Φ* = 1 for the steeper component, and its derivatives.

        Parameters
        ----------
        log_mass : ndarray of float, shape (n,)
            Masses log10(M/M☉).
        parameters : ndarray of float, shape (k,)
            The parameters.

        Returns
        -------
        values : ndarray of float, shape (n,)
            The logarithms.
        derivatives : ndarray of float, shape (k, n)
            Their derivatives with respect to the parameters.
        """
        knee, alpha, step, ratio = parameters
        u = LN10 * (log_mass - knee)
        x = np.exp(np.minimum(u, np.log(LARGEST)))
        values = np.log(LN10) - x + (alpha + 1) * u + np.logaddexp(0.0, ratio + step * u)
        share = expit(ratio + step * u)  # of the second component
        return values, np.stack([LN10 * (x - alpha - 1 - share * step), u, share * u, share])

    def function(self, parameters: Floats, log_phi: float) -> Schechter:
        """Return a function of two components, of which the first is the steeper one.

        Parameters
        ----------
        parameters : ndarray of float, shape (k,)
            The parameters of the shape.
        log_phi : float
            The logarithm log10(Φ*) of the first component.

        Returns
        -------
        Schechter
            The function.
        """
        knee, alpha, step, ratio = (float(value) for value in parameters)
        return Schechter(knee, (alpha, alpha + step), (float(log_phi), float(log_phi) + ratio / LN10))


SINGLE, DOUBLE = Single(), Double()
