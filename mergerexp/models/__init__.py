"""Backbones and their weights, the classifier, the feature bank; morphologies, rules and forests."""
