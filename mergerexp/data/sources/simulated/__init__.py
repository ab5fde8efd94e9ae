"""The embedded galaxy simulator: SDSS-like pictures of encounters and of galaxies that are alone.

`SimulatedSource` is what the rest of the package uses. The modules, from physics to picture:
`discs`, `dynamics`, `encounters` (restricted three-body encounters), `galaxies`, `cosmology` (what the
galaxies are, and where), `photometry`, `particles`, `sky`, `stamps`, `colour` (one renderer for both
classes), `scenes` (what is simulated).
"""

from mergerexp.data.sources.simulated.settings import SimulatorSettings
from mergerexp.data.sources.simulated.source import RECIPE_VERSION, SimulatedSource

__all__ = ["RECIPE_VERSION", "SimulatedSource", "SimulatorSettings"]
