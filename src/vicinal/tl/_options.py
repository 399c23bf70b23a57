"""Gives the companions of `embed` its arguments without repeating them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from .embed import embed

F = TypeVar("F", bound=Callable[..., Any])


def with_embed_arguments(function: F) -> F:
    """Show `embed`'s signature, without ``copy``, for a function that passes ``**options`` on."""
    signature = inspect.signature(embed)
    kept = [p for name, p in signature.parameters.items() if name != "copy"]
    returned = inspect.signature(function).return_annotation
    function.__signature__ = signature.replace(parameters=kept, return_annotation=returned)  # type: ignore[attr-defined]
    return function
