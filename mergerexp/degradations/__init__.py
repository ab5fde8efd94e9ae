"""Ways to spoil an image, from harmless to ruinous.

`settings` says how strongly, and imports no torch; `degrade` does it.
"""
