"""The strengths of each degradation, with their meanings and bounds; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mergerexp.settings import setting


@dataclass(kw_only=True)
class Strengths:
    """The strengths of each degradation, from none to ruinous; see `mergerexp.degradations.degrade`."""

    noise: list[float] = setting(
        "standard deviation of the noise", 0.0, 255.0, neutral=0.0, unit="grey levels"
    )
    blur: list[float] = setting(
        "full width at half maximum of a Gaussian", 0.0, 1000.0, neutral=0.0, unit="pixels"
    )
    jpeg: list[float] = setting("quality of a JPEG; 100: not compressed", 1.0, 100.0, neutral=100.0)
    dimming: list[float] = setting("factor on the grey levels", 0.0, 1.0, neutral=1.0)
    rotation: list[float] = setting("angle", 0.0, 360.0, neutral=0.0, unit="degrees")
    zoom_out: list[float] = setting("factor on the galaxy's size", 0.05, 1.0, neutral=1.0)
    zoom_in: list[float] = setting("factor on the galaxy's size", 1.0, 20.0, neutral=1.0)
    star: list[float] = setting(
        "peak of a star beside the galaxy; from 1 on it is saturated",
        0.0,
        1e6,
        neutral=0.0,
        unit="units of white",
    )
