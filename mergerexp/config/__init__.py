"""What can be set, what is allowed, and what makes two runs the same run."""
