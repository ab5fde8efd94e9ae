"""The page of a study: one HTML file that loads nothing, and in which thresholds can be tried out."""
