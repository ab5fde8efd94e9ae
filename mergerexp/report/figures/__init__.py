"""The figures of a report: each module has one kind, and each function draws one figure and returns it."""
