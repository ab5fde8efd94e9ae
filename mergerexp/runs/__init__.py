"""What a run and a sweep are on disk, and how they stand; imports no torch."""
