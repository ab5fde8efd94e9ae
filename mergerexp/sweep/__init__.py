"""Scheduling of jobs on Slurm and on this machine; a job is a function of a folder, whatever it computes."""
