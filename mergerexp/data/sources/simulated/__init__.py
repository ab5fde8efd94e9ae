"""Images of the embedded simulator; see `mergerexp.simulator`."""

from __future__ import annotations

from dataclasses import dataclass

from mergerexp.config.schema import DataConfig
from mergerexp.data.sources import Source
from mergerexp.simulator.settings import SimulatorSettings


@dataclass(kw_only=True)
class Settings(DataConfig):
    """Images of the embedded simulator; see `mergerexp.simulator`."""

    simulator: SimulatorSettings


def make(settings: Settings) -> Source:
    """Return the source of simulated images."""
    from mergerexp.data.sources.simulated.source import SimulatedSource

    return SimulatedSource(settings.simulator, settings.size)
