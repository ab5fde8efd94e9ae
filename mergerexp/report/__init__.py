"""What a study looks like: its numbers as tables, figures and a page."""
