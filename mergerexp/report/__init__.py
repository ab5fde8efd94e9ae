"""What a study looks like: tables, and later figures and pages."""
