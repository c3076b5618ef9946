"""WHAT is compared: the registry, the method contract, one file per method."""

from fedprompt.methods.base import Method, Phase, State, Uploads, hyperparameter
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.registry import register, register_optimiser

__all__ = [
    "Method",
    "MethodError",
    "Optimiser",
    "Phase",
    "State",
    "Uploads",
    "hyperparameter",
    "register",
    "register_optimiser",
]
