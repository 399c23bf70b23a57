"""The built-in backends, one a file; they reach the manager through the hook a third party uses.

To add one: write its file beside the others of its stage, and name its ``SPEC`` here.
"""

from __future__ import annotations

from vicinal.contract.spec import BackendSpec
from vicinal.plugin.hookspecs import hookimpl

from .graph import edgeless, fixed_sigma, fuzzy, perplexity, precomputed, uniform
from .init import array, map, obsm, paga, pca, random, sample_place, spectral
from .knn import exact, given, ivf, pynndescent, transformer
from .objective import tsne, umap, umap_learn
from .optimizer import numba_fft, numba_sgd
from .score import global_correlation, knn_recall, label_accuracy, trustworthiness

MODULES = (
    exact,
    given,
    ivf,
    pynndescent,
    transformer,
    fuzzy,
    precomputed,
    edgeless,
    perplexity,
    fixed_sigma,
    uniform,
    spectral,
    pca,
    random,
    paga,
    obsm,
    array,
    sample_place,
    map,
    umap,
    umap_learn,
    tsne,
    numba_sgd,
    numba_fft,
    knn_recall,
    trustworthiness,
    label_accuracy,
    global_correlation,
)


@hookimpl
def vicinal_register(host_api: int) -> list[BackendSpec]:
    """Return the specs of the built-in backends."""
    return [module.SPEC for module in MODULES]
