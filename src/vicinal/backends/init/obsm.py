"""Positions stored in the AnnData, such as an earlier map."""

from __future__ import annotations

from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="obsm",
    target="vicinal.backends.init.array:Backend",  # the host has read the key by then; an array is what is left
    summary="Positions stored in obsm, used as they are",
    capabilities=Capabilities(inputs=("positions",), deterministic=True, final_scale=True),
)
