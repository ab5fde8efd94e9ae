"""Numbers from stored predictions; imports numpy, scipy, pandas and scikit-learn only."""
