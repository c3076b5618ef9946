"""Figures of data frames, one module per group of figures."""
