"""One module a kind of figure; each function draws one and returns it."""
