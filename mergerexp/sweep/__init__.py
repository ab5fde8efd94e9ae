"""A scheduler: jobs on Slurm and on this machine. It knows folders, not networks."""
