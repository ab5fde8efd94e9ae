"""Planning the runs of a study, starting them, and showing what came out; imports no torch."""
