"""Values as messages show them: short, and never the representation of a whole object."""

from __future__ import annotations

from typing import Any

import numpy as np

LONGEST = 60
"""Characters of a value that is shown as it is."""
PLAIN = (type(None), bool, int, float, complex, str, bytes)
LISTS = (list, tuple, dict, set, frozenset, range)


def refused(name: str, value: Any) -> str:
    """Return how a message begins that refuses a value: ``name=value is not allowed``, or ``name is an array ...``."""
    text = short_text(value)
    return f"{name} is {described(value)}" if text is None else f"{name}={text} is not allowed"


def described(value: Any) -> str:
    """Return a value in words: text and numbers as they are, of all else what it is."""
    text = short_text(value)
    if text is not None:
        return text
    if isinstance(value, str):
        return f"a text of {len(value):,} characters"
    if callable(value) and hasattr(value, "__name__"):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__!r}"
    kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
    article = "an" if kind[:1].lower() in "aeio" else "a"
    size = f" of shape {value.shape}" if isinstance(getattr(value, "shape", None), tuple) else ""
    return f"{article} {kind}{size}"


def short_text(value: Any) -> str | None:
    """Return a value as it is written in Python, None where that is long or no text, number or list of them."""
    value = value.item() if isinstance(value, np.generic) and not isinstance(value, np.void) else value
    if isinstance(value, LISTS) and (len(value) > LONGEST or any(not isinstance(v, PLAIN) for v in value)):
        return None
    if isinstance(value, dict) and any(not isinstance(v, PLAIN) for v in value.values()):
        return None
    if not isinstance(value, PLAIN + LISTS):
        return None
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return None
    return text if len(text) <= LONGEST else None
