"""The record of a run in MLflow, and where it came from."""
