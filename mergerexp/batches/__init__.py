"""Batches of images on the device: stored, drawn with balanced classes, augmented and degraded."""
