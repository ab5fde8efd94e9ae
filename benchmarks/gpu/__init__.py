"""Measure how well mergerexp uses a GPU, in comparison with bare loops and other programs in the same run."""
