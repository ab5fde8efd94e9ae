"""Planning and starting the runs of a study and showing their results; this package imports no torch."""
