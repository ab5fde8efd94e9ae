"""What the helpers of a report need and take seconds to import.

They are forked from a process that has it, and that imports it while the main one reads the study.
"""

from __future__ import annotations

import fontTools.subset  # Matplotlib imports this and its backends when the first figure is saved
import matplotlib.backends.backend_pdf
import matplotlib.backends.backend_svg

import mergerexp.report.figures.degradation
import mergerexp.report.figures.gallery
import mergerexp.report.figures.lesion
import mergerexp.report.figures.quality
import mergerexp.report.figures.training
import mergerexp.report.scores
import mergerexp.report.study_folder

__all__ = ["fontTools", "matplotlib", "mergerexp"]
