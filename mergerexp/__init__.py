"""mergerexp: transfer-learning experiments on rare astronomical objects, from cutouts to catalogue."""
