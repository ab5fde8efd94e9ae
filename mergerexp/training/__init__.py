"""Training of one run: the two-stage protocol with its exact resume, and rules and forests."""
