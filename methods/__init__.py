"""What is compared: the method contract, the registry, and one module per method."""

from fedprompt.methods.base import Backbone, Batch, Method, Phase, State, Streams, Uploads, hyperparameter
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimiser import ClientContext, LossPlugin, Optimiser
from fedprompt.methods.registry import register, register_optimiser

__all__ = [
    "Backbone",
    "Batch",
    "ClientContext",
    "LossPlugin",
    "Method",
    "MethodError",
    "Optimiser",
    "Phase",
    "State",
    "Streams",
    "Uploads",
    "hyperparameter",
    "register",
    "register_optimiser",
]
