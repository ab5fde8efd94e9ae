"""Stellar mass functions of samples limited in flux (Weigel et al. 2016, MNRAS 459, 2150).

Densities in bins of mass come from 1/V_max and SWML, Schechter functions from STY. Densities are in
h³ Mpc⁻³ dex⁻¹ with h = H0/100 km/s/Mpc, while masses and distances hold for H0 = 70 km/s/Mpc. The galaxies of
a sample are those above its mass limit at their redshift; see `mergerexp.analysis.completeness`.
"""

from mergerexp.analysis.mass_function.points import MassGrid, MassPoints
from mergerexp.analysis.mass_function.schechter import DOUBLE, SINGLE, Schechter
from mergerexp.analysis.mass_function.sty import Fit, fit_schechter
from mergerexp.analysis.mass_function.swml import swml_density
from mergerexp.analysis.mass_function.vmax import mass_bins, vmax_density
from mergerexp.analysis.mass_function.volume import SampleVolume

__all__ = [
    "DOUBLE",
    "SINGLE",
    "Fit",
    "MassGrid",
    "MassPoints",
    "SampleVolume",
    "Schechter",
    "fit_schechter",
    "mass_bins",
    "swml_density",
    "vmax_density",
]
