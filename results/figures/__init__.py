"""Figures of data frames: `measurements` and `comparisons`, drawn by `drawing` from `parts`, in the look of `style` and `method_styles`."""
