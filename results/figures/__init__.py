"""Figures of data frames: `measurements` and `comparisons`, drawn by `drawing` from `parts`.

Their look is in `style` and, per method, in `method_styles`.
"""
