"""Data sets on disk: sources, preparing, splitting; imports no torch."""
