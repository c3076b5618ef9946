"""A GPU that is simulated on the CPU: tensors that claim to be on `cuda:0` and refuse operations with CPU tensors.

torch itself offers no such device. The values are computed by the CPU, so that code runs to its end. What is checked is
where tensors are: an operation on tensors of both devices fails as on a GPU, and so does `numpy()` on a GPU tensor.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda:0")
aten = torch.ops.aten
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class GpuTensor(torch.Tensor):
    """A tensor on the simulated GPU; `inner` is its value on the CPU."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device="meta", requires_grad=inner.requires_grad,
        )  # fmt: skip
        made.inner = inner
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    def __repr__(self):
        return f"GpuTensor({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs, created=False):
    """Computes an operation on the CPU; its results are on the GPU if an argument is."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    on_gpu = [t for t in tensors if isinstance(t, GpuTensor)]
    strays = [t for t in tensors if not isinstance(t, GpuTensor) and t.dim()]
    if func in INDEXING and isinstance(args[0], GpuTensor):  # indices may be on the CPU, values may not
        strays = [t for t in strays if len(args) > 2 and t is args[2]]
    if on_gpu and strays and func is not aten.copy_.default:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {func}")
    out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    if "out" in kwargs:
        return kwargs["out"]
    if func._schema.is_mutable and not created and isinstance(args[0], torch.Tensor):
        return args[0] if isinstance(args[0], GpuTensor) else out
    return tree_map(lambda x: GpuTensor(x) if isinstance(x, torch.Tensor) else x, out)


def _inner(x):
    return x.inner if isinstance(x, GpuTensor) else x


class GpuMode(TorchFunctionMode):
    """Places tensors on the simulated GPU where code asks for `cuda`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        own = isinstance(args[0], GpuTensor) if args else False
        if name == "numpy" and own:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
        if name in ("tolist", "untyped_storage", "data_ptr") and own:
            return func(args[0].inner, *args[1:], **kwargs)
        if name in ("matmul", "__matmul__") and own and args[0].dim() == 1 and args[1].dim() == 2:
            return (args[0].unsqueeze(0) @ args[1]).squeeze(0)  # torch would squeeze the product in place
        if name == "pin_memory":
            return args[0]
        if name == "new_tensor" and own:
            return GpuTensor(torch.Tensor.new_tensor(args[0].inner, *args[1:], **kwargs))
        if name in ("to", "cpu", "cuda") and isinstance(args[0], torch.Tensor):
            return _moved(name, args, kwargs)
        if _is_cuda(kwargs.get("device")) and name != "__get__":
            generator = kwargs.get("generator")
            if generator is not None:
                raise RuntimeError(f"Expected a 'cuda' device type for generator but found {generator.device}")
            return GpuTensor(func(*args, **kwargs | {"device": "cpu"}))
        return func(*args, **kwargs)


class Factories(TorchDispatchMode):
    """Tensors that torch creates inside an operation on GPU tensors, such as the numbers of `one_hot`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "meta":
            return run(func, args, kwargs | {"device": torch.device("cpu")}, created=True)
        return func(*args, **kwargs)


def _is_cuda(device):
    return device is not None and not isinstance(device, int) and torch.device(device).type == "cuda"


def _moved(name, args, kwargs):
    """`Tensor.to`, `cpu` and `cuda`."""
    tensor, *rest = args
    kwargs.pop("non_blocking", None)
    devices = [x for x in (*rest, kwargs.pop("device", None)) if isinstance(x, str | torch.device)]
    target = {"cpu": "cpu", "cuda": "cuda"}.get(name) or (torch.device(devices[0]).type if devices else None)
    if other := [x for x in rest if isinstance(x, torch.Tensor)]:
        target, rest = other[0].device.type, [other[0].dtype]
    rest = [x for x in rest if isinstance(x, torch.dtype)]
    if rest or kwargs:
        tensor = torch.Tensor.to(tensor, *rest, **kwargs)
    if target == "cuda" and not isinstance(tensor, GpuTensor):
        return GpuTensor(tensor.detach().clone())
    if target == "cpu" and isinstance(tensor, GpuTensor):
        return tensor.inner.detach().clone()
    return tensor


@contextmanager
def fake_gpu(monkeypatch, free=8 * 10**9, total=10 * 10**9):
    """Inside the block, `cuda` is a simulated GPU with this much memory in bytes."""
    answers = {
        "is_available": True, "device_count": 1, "current_device": 0, "init": None, "synchronize": None,
        "get_device_name": "simulated", "is_bf16_supported": True, "mem_get_info": (free, total),
        "reset_peak_memory_stats": None, "max_memory_reserved": 0, "memory_reserved": 0, "memory_allocated": 0,
        "empty_cache": None,
    }  # fmt: skip
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    with GpuMode(), Factories():
        yield
