"""The error of this package."""


class MethodError(ValueError):
    """Invalid method name, hyperparameter or plug-in file; the message says what is valid."""
