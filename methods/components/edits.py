"""Checks of methods that edit the layers of the backbone."""

from __future__ import annotations

from fedprompt.methods import Backbone, MethodError


def require_editable(name: str, vit: Backbone) -> None:
    """Raises `MethodError` if the layers of this backbone's blocks cannot be edited."""
    if not vit.hidden:
        raise MethodError(
            f"{name}: the layers of this backbone's blocks cannot be edited; use another, as vit_base_patch16_224."
        )
