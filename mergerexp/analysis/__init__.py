"""Numbers from stored predictions; imports numpy, scipy and pandas only."""
