"""A galaxy simulator, which makes SDSS-like pictures of encounters and of non-interacting galaxies.

It needs only numpy and scipy. `mergers` and `noninteracting` of `mergerexp.simulator.scenes` make pictures
from `SimulatorSettings`; `mergerexp.data.sources.simulated` makes data sets of them. From physics to picture,
the modules are `discs`, `dynamics` and `encounters` (restricted three-body encounters), `galaxies` (their
properties, redshifts and magnitudes), `photometry`, `particles`, `sky`, `stamps` and `colour` (one renderer
for both classes), and `scenes` (the pictures of each class).
"""
