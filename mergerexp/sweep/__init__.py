"""Run folders and the states of runs; imports no torch."""
