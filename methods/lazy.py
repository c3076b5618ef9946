"""torch, imported at first use, so that `bench list methods` takes milliseconds.

Method files write `from fedprompt.methods.lazy import Tensor, torch` instead of `import torch`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
    from torch.nn import functional
else:

    class _LazyModule:
        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._module), name)

    torch = _LazyModule("torch")
    functional = _LazyModule("torch.nn.functional")
    Generator = Tensor = Any  # for annotations only

__all__ = ["Generator", "Tensor", "functional", "torch"]
