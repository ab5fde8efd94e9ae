"""A galaxy simulator: SDSS-like pictures of encounters and of galaxies that are alone.

It needs numpy and scipy only. `mergers` and `noninteracting` of `mergerexp.simulator.scenes` make pictures
from `SimulatorSettings`; `mergerexp.data.sources.simulated` makes data sets of them. The modules, from
physics to picture: `discs`, `dynamics`, `encounters` (restricted three-body encounters), `galaxies` (what
the galaxies are, and where), `photometry`, `particles`, `sky`, `stamps`, `colour` (one renderer for both
classes), `scenes` (what is simulated).
"""
