"""What the tests of sources share."""

import io

import numpy as np


def made(source):
    """All rows and problems of a source, and its images."""
    parts = [source.make(chunk) for chunk in source.chunks()]
    rows = [row for part in parts for row in part.rows]
    problems = {problem.file: problem.reason for part in parts for problem in part.problems}
    return rows, problems, np.concatenate([part.images for part in parts])


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
