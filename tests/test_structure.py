"""What every public function has in common."""

from __future__ import annotations

import inspect

import pytest

import vicinal as vc

FUNCTIONS = [
    getattr(module, name)
    for module in (vc.pp, vc.tl, vc.pl)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_signature(function) -> None:  # type: ignore[no-untyped-def]
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[0].startswith("adata") and len(positional) <= 2
    copy = inspect.signature(function).parameters.get("copy")
    assert copy is None or (copy.default is False and copy.kind is copy.KEYWORD_ONLY)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_docstring(function) -> None:  # type: ignore[no-untyped-def]
    text = inspect.getdoc(function) or ""
    assert "Parameters\n---" in text and "Returns\n---" in text or function.__module__.startswith("vicinal.pl")
    shared = "**options" in text or "use_rep, n_pcs" in text
    for name in inspect.signature(function).parameters:
        assert name in text or shared, f"{function.__name__} does not document {name}"
