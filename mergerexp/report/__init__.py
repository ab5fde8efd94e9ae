"""The report of a study: its numbers in tables, in figures and on a page."""
