"""Images on the device: stored, loaded in balanced batches, augmented, degraded."""
