"""The figures, each a function of tidy frames; one module a group."""
