"""The simulator's settings as a plain, picklable, hashable dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SimulatorSettings:
    """What decides the content of a simulated data set, besides the size of its images.

    Attributes
    ----------
    n_mergers, n_noninteracting
        Images of each class.
    seed
        Root of all random streams.
    views_per_encounter
        Images of one encounter: other times, other sides, other distances.
    n_particles
        Test particles of one disc.
    stamp_width
        Side of the stamp in Petrosian radii of the centred galaxy, before its scatter.
    as_min
        Noise-free shape asymmetry that a merger must reach.
    hard
        Chance, at each try, to keep a merger below ``as_min``.
    stages
        Fractions of approach, first passage and late stages.
    p_proj
        Chance of an unrelated galaxy in projection, among the non-interacting.
    p_star
        Chance of a bright star in front of a galaxy, in either class.
    depth
        Sky noise in units of that of SDSS.
    label_noise
        Chance that a label is flipped.
    """

    n_mergers: int
    n_noninteracting: int
    seed: int
    views_per_encounter: int
    n_particles: int
    stamp_width: float
    as_min: float
    hard: float
    stages: tuple[float, float, float]
    p_proj: float
    p_star: float
    depth: float
    label_noise: float

    @classmethod
    def from_config(cls, config: Any) -> SimulatorSettings:
        """Read the settings from a mapping (a ``DictConfig`` is one) or from an object's attributes.

        Raises
        ------
        ValueError
            If ``stages`` is not three non-negative fractions with a positive sum.
        """
        if isinstance(config, cls):
            return config

        def value(name: str) -> Any:
            return config[name] if isinstance(config, Mapping) else getattr(config, name)

        stages = tuple(float(x) for x in value("stages"))
        if len(stages) != 3 or min(stages) < 0 or sum(stages) <= 0:
            raise ValueError(
                "simulator.stages must be three non-negative fractions (approach, first passage, late) "
                f"with a positive sum, not {list(stages)}"
            )
        values: dict[str, Any] = {name: int(value(name)) for name in _INTEGERS}
        values |= {name: float(value(name)) for name in _FLOATS}
        return cls(**values, stages=(stages[0], stages[1], stages[2]))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {**asdict(self), "stages": list(self.stages)}


_INTEGERS = ("n_mergers", "n_noninteracting", "seed", "views_per_encounter", "n_particles")
_FLOATS = ("stamp_width", "as_min", "hard", "p_proj", "p_star", "depth", "label_noise")
