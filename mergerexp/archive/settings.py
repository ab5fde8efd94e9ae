"""What can be set about getting the paper's sample from the archives."""

from __future__ import annotations

from dataclasses import dataclass

from mergerexp.settings import setting


@dataclass(kw_only=True)
class ArchiveSettings:
    """Where the paper's sample comes from, and which galaxies are in it (docs/science.md §1 and §9)."""

    release: int = setting("SDSS data release, which {release} stands for in addresses", 1, 100)
    tables: str = setting("address of the SQL service")
    cutouts: str = setting("address of the cutout service")
    frames: str | None = setting(
        "folder of corrected frames, such as frame-r-004263-4-0152.fits.bz2, in g, r and i, from which "
        "cutouts are made in place of asking for them; null: there is none"
    )
    mergers: str = setting("address of the catalogue of Darg et al. 2010")
    rate: float = setting("requests in a second, at most", above=0.0, high=100.0)
    tries: int = setting("how often one answer is asked for before it is given up", 1, 100)
    first_wait: float = setting(
        "wait before an answer is asked for again, which doubles each time", 0.0, 3600.0, unit="seconds"
    )
    timeout: float = setting(
        "wait for the next byte of an answer, at most", above=0.0, high=86_400.0, unit="seconds"
    )
    redshift: list[float] = setting("lower and upper redshift", 0.0, 10.0)
    step: float = setting("redshifts that one query covers", above=0.0, high=10.0)
    merger_votes: float = setting("least fraction of merger votes, f_m, of a merger", 0.0, 1.0)
    other_votes: float = setting("f_m that non-interacting galaxies stay below", 0.0, 1.0)
    others: int = setting("number of non-interacting galaxies that are drawn", 1, 10_000_000)
    seed: int = setting("seed of the draw", 0, 2**31 - 1)
    pixels: int = setting("side of the cutouts", 64, 2048, unit="pixels")
    pixel_scale: float = setting(
        "arcseconds of a pixel over the Petrosian radius in r; 0.024 in Galaxy Zoo 1", above=0.0, high=1.0
    )
    survey: bool = setting("get cutouts of all galaxies in the range of redshifts, for mergerexp.predict")

    def problem(self) -> str | None:
        """Say which value makes no sense beside the others, and why; None if all do."""
        if len(self.redshift) != 2 or self.redshift[0] >= self.redshift[1]:
            return f"redshift={self.redshift}: a lower and an upper limit are needed"
        for name in ("tables", "cutouts", "mergers"):
            if not getattr(self, name).startswith(("http://", "https://")):
                return f"{name}={getattr(self, name)}: an http(s) address is needed"
        if self.other_votes > self.merger_votes:
            return f"other_votes={self.other_votes}: must not be above merger_votes={self.merger_votes}"
        return None
