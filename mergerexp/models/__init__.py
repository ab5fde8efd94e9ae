"""Backbones and their weights, the classifier, the frozen-feature bank."""
