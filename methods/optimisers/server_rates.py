"""Learning rates of the server: separate values for the head and for all other shared tensors."""

HEAD = "head."


def rate(tensor: str, lr: float, head_lr: float | None) -> float:
    """The learning rate of a shared tensor: `head_lr` for head tensors unless it is None, otherwise `lr`."""
    return head_lr if head_lr is not None and tensor.startswith(HEAD) else lr
