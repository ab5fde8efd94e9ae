"""Data sets: their sources, their preparation, their files and their splits, without torch."""
