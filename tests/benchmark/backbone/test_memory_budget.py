import pytest
import torch
from torch.nn import functional

from fedprompt.benchmark.backbone import memory_budget as memory
from fedprompt.benchmark.backbone.memory_budget import SavedActivations, budget, is_out_of_memory
from tests import toy

CPU = torch.device("cpu")


def test_what_autograd_keeps_is_counted_once_a_tensor() -> None:
    x = torch.ones(3, 5, requires_grad=True)
    with SavedActivations(toy.vit()) as kept:
        y = x.exp()  # keeps its result
        (y * y).sum()  # keeps y again, twice
    assert kept.bytes == 3 * 5 * 4


def test_frozen_weights_are_no_part_of_it() -> None:
    weight = toy.vit().model.blocks[0].mlp.fc1.weight
    x = torch.ones(2, weight.shape[1], requires_grad=True)
    with SavedActivations(toy.vit()) as kept:
        functional.linear(x, weight)
    assert kept.bytes == 0
    with SavedActivations(toy.vit()) as kept:
        functional.linear(x, weight.clone())
    assert kept.bytes == weight.nbytes


def test_outside_the_block_nothing_is_counted() -> None:
    x = torch.ones(4, requires_grad=True)
    with SavedActivations(toy.vit()) as kept:
        pass
    x.exp()
    assert kept.bytes == 0


def test_gradients_are_the_same_inside() -> None:
    x = torch.arange(3.0, requires_grad=True)
    with SavedActivations(toy.vit()):
        (x**3).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 3, 12]


def test_a_pass_may_take_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    assert budget(CPU) == 600
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert budget(CPU) is None


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_refusals_of_memory_are_told_from_other_errors(error: Exception, refusal: bool) -> None:
    assert is_out_of_memory(error) is refusal


def test_torchs_own_refusal_on_this_machine_is_one() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
