"""The two-stage training protocol and its exact resume."""
