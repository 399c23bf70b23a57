"""What ``method=`` can name among the built-ins: choices of stages with defaults."""

from __future__ import annotations

from vicinal.contract.spec import API_VERSION, Preset
from vicinal.plugin.hookspecs import hookimpl

UMAP = Preset(
    api_version=API_VERSION,
    name="umap",
    summary="UMAP by negative sampling, with scanpy's defaults",
    stages={"knn": "auto", "graph": "auto", "init": "auto", "objective": "umap", "optimizer": "numba_sgd"},
    n_neighbors=15,
    defaults={"min_dist": 0.5},
)

TSNE = Preset(
    api_version=API_VERSION,
    name="tsne",
    summary="t-SNE by FFT, from principal components (Kobak and Berens 2019)",
    stages={"knn": "auto", "graph": "perplexity", "init": "pca", "objective": "tsne", "optimizer": "numba_fft"},
    n_neighbors=15,
)


@hookimpl
def vicinal_register(host_api: int) -> list[Preset]:
    """Return the built-in presets."""
    return [UMAP, TSNE]
