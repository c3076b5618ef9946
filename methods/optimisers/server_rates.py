"""Learning rates of the server: one for prompts and whatever else is shared, and one for the head."""

HEAD = "head."


def rate(tensor: str, lr: float, head_lr: float | None) -> float:
    """The rate of a shared tensor: `head_lr` for the head's where it is given, `lr` for all others."""
    return head_lr if head_lr is not None and tensor.startswith(HEAD) else lr
