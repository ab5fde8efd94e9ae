"""Runs and sweeps as folders on disk, with their states; this package imports no torch."""
