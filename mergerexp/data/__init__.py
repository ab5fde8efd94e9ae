"""Data sets on disk: preparing, splitting, sampling, augmenting."""
