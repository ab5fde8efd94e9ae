"""The part of the universe in which a sample's galaxies could have been seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from mergerexp.analysis.completeness import MassLimit
from mergerexp.analysis.metrics import Floats
from mergerexp.cosmology import H_CUBED, comoving_volume

SHELLS = 400  # in which a sample's volume is divided


@dataclass(frozen=True)
class SampleVolume:
    """The volume of a sample that is limited in mass at each redshift.

    Attributes
    ----------
    limit : MassLimit
        The mass limit, over the sample's range of redshifts.
    area : float
        The effective area in square degrees: that on the sky times the completeness of the spectroscopy.
    """

    limit: MassLimit
    area: float

    def visible(self, log_mass: ArrayLike) -> Floats:
        """Return the volume in which galaxies of some masses are in the sample, V_max.

        Parameters
        ----------
        log_mass : array_like of float
            Masses log10(M/M☉).

        Returns
        -------
        ndarray of float
            Volumes in h⁻³ Mpc³, zero for masses below the limit everywhere.
        """
        farthest = self.limit.farthest(log_mass)
        return comoving_volume(self.limit.redshift[0], farthest, self.area) * H_CUBED

    def shells(self) -> tuple[Floats, Floats]:
        """Divide the volume into thin shells.

        Returns
        -------
        volume : ndarray of float, shape (SHELLS,)
            Their volumes in h⁻³ Mpc³.
        limit : ndarray of float, shape (SHELLS,)
            The mass limit in the middle of each.
        """
        edges = np.linspace(self.limit.redshift[0], self.limit.redshift[-1], SHELLS + 1)
        volume = comoving_volume(edges[:-1], edges[1:], self.area) * H_CUBED
        return volume, self.limit.at((edges[:-1] + edges[1:]) / 2)

    def fraction(self, share: float) -> SampleVolume:
        """Return the volume over a part of the area.

        Parameters
        ----------
        share : float
            The part.

        Returns
        -------
        SampleVolume
            A volume with the same limit.
        """
        return replace(self, area=self.area * share)
