"""Statistics of stored predictions, by numpy, scipy and pandas."""
