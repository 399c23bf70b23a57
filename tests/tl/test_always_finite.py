"""Whatever the data: a finite map, or a clear error and an AnnData as it was."""

from __future__ import annotations

import hashlib
from typing import Any

import anndata as ad
import numpy as np
import pytest
from forms_for_tests import Cauchy, chebyshev
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsTransformer

import vicinal as vc
from vicinal.api import Capabilities, InputError, StageError
from vicinal.plugin.manager import get_manager

FARTHEST = 4.5
"""Median distances from the middle that no cell with neighbours lies beyond. In a map of one cloud, or of two of a
size, the farthest of uniform cells lies at up to 2 (on a line), of 300 Gaussian cells at 4.3; where single samples
push with eight times their weight, cells fly off to 5 to 30.
"""

SITUATIONS = {
    "plain": lambda x, rng: x,
    "two far clusters": lambda x, rng: x + 1e3 * (np.arange(len(x)) % 2)[:, None],
    "far outliers": lambda x, rng: x * np.where(np.arange(len(x)) < 3, 1e6, 1)[:, None],
    "half duplicates": lambda x, rng: x[np.maximum(np.arange(len(x)) - len(x) // 2, 0)],
    "nearly all duplicates": lambda x, rng: x[np.maximum(np.arange(len(x)) - int(0.99 * len(x)), 0)],
    "all the same": lambda x, rng: np.full_like(x, 7.5),
    "constant columns": lambda x, rng: np.where(np.arange(x.shape[1]) % 2, x, -3),
    "uneven features": lambda x, rng: x * 10.0 ** np.linspace(-6, 6, x.shape[1]),
}


class Jitted(Cauchy):
    """The objective of coefficients, as an object."""

    capabilities = Capabilities(forms=("coefficients",))


FORMS: dict[str, dict[str, Any]] = {
    "kernel": {},
    "coefficients": {"objective": Jitted(None)},
    "metric": {"output_metric": chebyshev},
    "haversine": {"output_metric": "haversine"},
}
ALL_FORMS = {**FORMS, "normalized": {"objective": "tsne", "optimizer": "numba_fft"}}
MOST_COMPONENTS = {"haversine": 2, "normalized": 3}


def built_in(stage: str) -> list[str]:
    return sorted(e.spec.name for e in get_manager().entries() if e.stage == stage and e.builtin)


def cells(n: int, n_features: int = 6, situation: str = "plain", scale: float = 1.0, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    values = SITUATIONS[situation](rng.normal(size=(n, n_features)), rng) * scale
    adata = ad.AnnData(obsm={"X_pca": values.astype(np.float32), "before": rng.normal(size=(n, 2)) * scale})
    adata.obs["group"] = rng.integers(4, size=n).astype(str)
    n_groups = adata.obs["group"].nunique()
    adata.uns["paga"] = {"groups": "group", "pos": rng.normal(size=(n_groups, 2)) * scale}
    return adata


def gaps(n: int, width: int = 6, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a neighbour table in which some have few neighbours and others none."""
    rng = np.random.default_rng(seed)
    indices, distances = rng.integers(-1, n, size=(n, width)), np.abs(rng.normal(size=(n, width))) * scale
    distances[rng.random((n, width)) < 0.2] = np.inf
    distances[rng.random((n, width)) < 0.2] = 0
    indices[rng.random(n) < 0.2] = -1
    return indices, distances


def with_knn(name: str, adata: ad.AnnData) -> dict[str, Any]:
    special = {"given": gaps(adata.n_obs), "transformer": KNeighborsTransformer(n_neighbors=14)}
    return {"knn": special.get(name, name)}


def with_init(name: str, adata: ad.AnnData) -> dict[str, Any]:
    special = {"obsm": "before", "array": adata.obsm["before"]}
    return {"init": special.get(name, name)}


def with_graph(name: str, adata: ad.AnnData) -> dict[str, Any]:
    if name != "precomputed":
        return {"graph": name, **({"sigma": 2.0} if name == "fixed_sigma" else {})}
    copy = adata.copy()
    vc.pp.neighbors(copy, knn=gaps(adata.n_obs))
    return {"graph": copy.obsp["connectivities"]}


def fingerprint(adata: ad.AnnData) -> tuple[Any, ...]:
    arrays = {key: hashlib.sha256(values.tobytes()).hexdigest() for key, values in adata.obsm.items()}
    return arrays, repr(adata.uns), list(adata.obsp), list(adata.obs), list(adata.var)


def refusal(adata: ad.AnnData, **options: Any) -> Exception | None:
    """Make a map and check it; return the error where it was refused, having checked that nothing was written."""
    before = fingerprint(adata)
    try:
        vc.tl.embed(adata, n_jobs=1, key_added="map", **options)
    except (InputError, StageError) as error:
        assert str(error)
        assert fingerprint(adata) == before
        return error
    layout, entry = adata.obsm["map"], adata.uns["map"]
    assert layout.shape == (adata.n_obs, options.get("n_components", 2))
    assert np.isfinite(layout).all()
    assert np.isfinite(entry["loss"]).all()
    assert np.isfinite(list(entry["score"].values())).all()
    return None


@pytest.mark.parametrize(
    ("form", "n_components"),
    [
        (form, n)
        for form in ALL_FORMS
        for n in (1, 2, 3, 10)
        if n <= MOST_COMPONENTS.get(form, n) and (form != "haversine" or n == 2)
    ],
)
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_scales_of_the_data(scale: float, form: str, n_components: int) -> None:
    for init in ("spectral", "pca"):
        error = refusal(cells(60, scale=scale), init=init, n_components=n_components, n_epochs=40, **ALL_FORMS[form])
        assert error is None


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", built_in("knn"))
def test_every_knn(name: str, situation: str) -> None:
    for scale in (1e-6, 1.0, 1e6):
        adata = cells(50, situation=situation, scale=scale)
        assert refusal(adata, n_epochs=20, **with_knn(name, adata)) is None


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", built_in("init"))
def test_every_init(name: str, situation: str) -> None:
    for scale in (1e-6, 1.0, 1e6):
        adata = cells(50, situation=situation, scale=scale)
        for knn in ({}, {"knn": gaps(50)}):
            assert refusal(adata, n_epochs=20, **knn, **with_init(name, adata)) is None


@pytest.mark.parametrize("form", ALL_FORMS)
@pytest.mark.parametrize("name", built_in("graph"))
def test_every_graph_with_isolates(name: str, form: str) -> None:
    for situation in SITUATIONS:
        adata = cells(50, situation=situation)
        assert refusal(adata, n_epochs=20, **with_graph(name, adata), **ALL_FORMS[form]) is None
        if name != "precomputed":
            assert refusal(adata, n_epochs=20, knn=gaps(50), **with_graph(name, adata), **ALL_FORMS[form]) is None


SCALES = st.sampled_from([10.0**exponent for exponent in range(-6, 7)])


@st.composite
def maps(draw: st.DrawFn) -> tuple[ad.AnnData, dict[str, Any]]:
    """Draw cells and arguments, any with any."""
    n = draw(st.one_of(st.integers(1, 20), st.sampled_from([40, 120])))
    adata = cells(
        n,
        n_features=draw(st.sampled_from([1, 2, 3, 8, 30])),
        situation=draw(st.sampled_from([*SITUATIONS])),
        scale=draw(SCALES),
        seed=draw(st.integers(0, 9)),
    )
    form = draw(st.sampled_from([*FORMS]))
    init = draw(st.sampled_from(built_in("init")))
    two_only = form == "haversine" or init in ("paga", "obsm", "array")
    options: dict[str, Any] = {
        **FORMS[form],
        **with_init(init, adata),
        "n_components": 2 if two_only else draw(st.sampled_from([1, 2, 3, 10])),
        "n_epochs": draw(st.sampled_from([0, 1, 10, 60])),
        "learning_rate": draw(st.sampled_from([0.0, 0.5, 1.0, 10.0])),
        "graph": "fuzzy",
        "symmetrize": draw(st.booleans()),
        "local_connectivity": draw(st.sampled_from([0.0, 1.0, 2.5])),
        "set_op_mix_ratio": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }
    knn = draw(st.sampled_from([name for name in built_in("knn") if name not in ("pynndescent", "transformer")]))
    if knn == "given":
        options["knn"] = gaps(n, draw(st.integers(1, 16)), draw(SCALES))
        options["disconnection_distance"] = draw(st.sampled_from([None, 1e-6, 1.0, 1e6]))
    else:
        options |= {"knn": knn, "metric": draw(st.sampled_from(["euclidean", "cosine", "manhattan", "correlation"]))}
    if form != "coefficients":
        options |= {
            "min_dist": draw(st.sampled_from([0.0, 0.1, 1.0])),
            "negative_sample_rate": draw(st.sampled_from([0, 0.5, 5, 33])),
            "repulsion_strength": draw(st.sampled_from([0.0, 1.0, 10.0])),
        }
    return adata, options


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(maps())
def test_anything_with_anything(drawn: tuple[ad.AnnData, dict[str, Any]]) -> None:
    adata, options = drawn
    error = refusal(adata, **options)
    event("refused" if error else "made")
    # A backend may lack a metric, or want more cells; ours are short of neither.
    assert error is None or "metric" in str(error) or adata.n_obs < 5, error


def farthest(adata: ad.AnnData, joined: np.ndarray) -> float:
    """Return the largest distance of these cells from their middle, in medians."""
    places = adata.obsm["map"][joined].astype(float)
    distances = np.linalg.norm(places - np.median(places, axis=0), axis=1)
    return distances.max() / np.median(distances)


@pytest.mark.parametrize("n_components", [1, 2, 3, 10])
@pytest.mark.parametrize("negatives", [0.5, 5.0, 33.0])
def test_no_cell_flies_off(negatives: float, n_components: int) -> None:
    for situation in ("plain", "two far clusters", "far outliers"):
        adata = cells(300, situation=situation)
        assert refusal(adata, n_components=n_components, n_epochs=100, negative_sample_rate=negatives) is None
        assert farthest(adata, np.ones(300, bool)) < FARTHEST, situation


@pytest.mark.parametrize("n_components", [1, 2, 10])
@pytest.mark.parametrize("form", ["coefficients", "metric"])
def test_no_cell_flies_off_by_forces_of_the_users(form: str, n_components: int) -> None:
    adata = cells(300, situation="far outliers")
    assert refusal(adata, n_components=n_components, n_epochs=60, **FORMS[form]) is None
    assert farthest(adata, np.ones(300, bool)) < FARTHEST


def test_no_cell_flies_off_among_isolates() -> None:
    """Cells without neighbours stay where they start; the others stay together."""
    adata = cells(300)
    vc.pp.neighbors(adata)
    graph = adata.obsp["connectivities"].tolil()
    graph[:30], graph[:, :30] = 0, 0
    joined = np.arange(300) >= 30
    for init in ("spectral", "pca", "random"):
        assert refusal(adata, graph=graph.tocsr(), init=init, n_epochs=200) is None
        assert farthest(adata, joined) < FARTHEST, init


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"use_rep": "huge"}, "infinite values"),
        ({"use_rep": "holes"}, "NaN"),
        ({"init": "holes"}, "NaN"),
        ({"init": np.full((50, 2), 1e39)}, "NaN or infinite as float32"),
        ({"knn": (np.full((50, 3), 60), np.ones((50, 3)))}, "out of range"),
        ({"knn": (np.ones((50, 3), int), -np.ones((50, 3)))}, "negative"),
        ({"init": "paga", "n_components": 3}, "n_components=3"),
        ({"n_neighbors": 50}, "n_neighbors=50"),
        ({"min_dist": np.nan}, "min_dist=nan"),
        ({"learning_rate": np.inf}, "learning_rate=inf"),
    ],
)
def test_what_cannot_be_finite_is_refused(options: dict[str, Any], says: str) -> None:
    adata = cells(50)
    adata.obsm["huge"] = np.full((50, 3), 1e39)
    adata.obsm["holes"] = np.where(np.arange(100).reshape(50, 2) == 17, np.nan, 1.0)
    assert says in str(refusal(adata, **options))
