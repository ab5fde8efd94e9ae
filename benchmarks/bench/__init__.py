"""``make bench``: how fast mergerexp is beside its peers and bare limits, which take turns in one run."""
