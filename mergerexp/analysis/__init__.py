"""Statistics of stored predictions, by numpy, scipy, pandas and (imported where it is used) scikit-learn."""
