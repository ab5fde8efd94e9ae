"""The mergers of a survey beside all its galaxies: catalogues, measurements, tables, figures and the page."""
