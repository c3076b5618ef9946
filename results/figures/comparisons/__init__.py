"""Figures of paired comparisons of methods."""
