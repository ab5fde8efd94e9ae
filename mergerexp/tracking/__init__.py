"""The records of runs in MLflow: keeping them up to date, and reading a study back from them."""
