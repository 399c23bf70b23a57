"""The whole path on real cells: what it reads, what it writes, what it leaves alone."""

from __future__ import annotations

import random
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.neighbors import KNeighborsTransformer

import vicinal as vc
from vicinal.api import InputError, StageError

FEW = {"n_epochs": 30}


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


@pytest.fixture
def adata(cells: ad.AnnData) -> ad.AnnData:
    return cells.copy()


def plain(n: int = 60, p: int = 6, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(rng.normal(size=(n, 3)).astype(np.float32))
    adata.obsm["X_pca"] = rng.normal(size=(n, p)).astype(np.float32)
    return adata


def snapshot(adata: ad.AnnData) -> dict:
    return {
        "obsm": {k: np.asarray(v).tobytes() for k, v in adata.obsm.items()},
        "obsp": {k: (v.data.tobytes(), v.indices.tobytes(), v.indptr.tobytes()) for k, v in adata.obsp.items()},
        "uns": sorted(adata.uns),
        "obs": adata.obs.to_csv(),
    }


def test_writes_the_map_and_all_that_belongs_to_it(adata: ad.AnnData) -> None:
    assert vc.tl.embed(adata) is None
    layout, entry = adata.obsm["X_umap"], adata.uns["umap"]
    assert layout.shape == (700, 2) and layout.dtype == np.float32 and np.isfinite(layout).all()
    assert set(entry) == {
        "params",
        "arguments",
        "inputs",
        "loss",
        "loss_epoch",
        "loss_parts",
        "backends",
        "reasons",
        "versions",
        "timings",
        "score",
        "model",
    }
    assert entry["params"]["a"] == pytest.approx(0.5830300203, abs=1e-6)
    assert entry["params"]["b"] == pytest.approx(1.3341669924, abs=1e-6)
    assert entry["params"]["n_epochs"] == 500 and entry["params"]["min_dist"] == 0.5
    assert entry["backends"]["graph"] == "precomputed@vicinal"
    assert entry["score"]["knn_recall_15"] > 0.3
    assert entry["loss"][-1] < entry["loss"][0]
    np.testing.assert_allclose(sum(entry["loss_parts"].values()), entry["loss"])


def test_everything_else_is_left_as_it_was(adata: ad.AnnData) -> None:
    before = snapshot(adata)
    python, numpy = random.getstate(), np.random.get_state()
    vc.tl.embed(adata, key_added="mine", **FEW)
    after = snapshot(adata)
    assert after["obsm"].pop("mine") and after["uns"].remove("mine") is None
    assert after == before
    assert random.getstate() == python
    assert all(np.array_equal(a, b) for a, b in zip(numpy, np.random.get_state(), strict=True))


def test_stdout_stays_empty(adata: ad.AnnData, capfd: pytest.CaptureFixture) -> None:
    vc.tl.embed(adata, **FEW)
    vc.tl.score(adata)
    vc.tl.plan(adata)
    assert capfd.readouterr().out == ""


def test_same_seed_same_map_and_another_seed_another(adata: ad.AnnData) -> None:
    for key, seed in (("one", 1), ("again", 1), ("two", 2)):
        vc.tl.embed(adata, key_added=key, random_state=seed, **FEW)
    assert np.array_equal(adata.obsm["one"], adata.obsm["again"])
    assert not np.allclose(adata.obsm["one"], adata.obsm["two"])


def test_threads_do_not_change_the_map(adata: ad.AnnData) -> None:
    for n_jobs in (1, 3):
        vc.tl.embed(adata, key_added=f"jobs{n_jobs}", n_neighbors=20, use_rep="X_pca", n_jobs=n_jobs, **FEW)
    assert np.array_equal(adata.obsm["jobs1"], adata.obsm["jobs3"])


@pytest.mark.parametrize(
    "options", [{}, {"n_neighbors": 10}, {"use_rep": "X_pca", "metric": "cosine"}, {"init": "X_umap"}]
)
def test_the_order_of_the_rows_does_not_change_the_map(adata: ad.AnnData, options: dict) -> None:
    shuffled = adata[np.random.default_rng(5).permutation(adata.n_obs)].copy()
    for cells in (adata, shuffled):
        vc.tl.embed(cells, key_added="map", **options, **FEW)
    assert np.array_equal(shuffled[adata.obs_names].obsm["map"], adata.obsm["map"])
    assert shuffled.uns["map"]["score"] == adata.uns["map"]["score"]
    assert np.array_equal(shuffled.uns["map"]["loss"], adata.uns["map"]["loss"])


def test_neighbors_given_as_arrays_in_any_order_of_rows(adata: ad.AnnData) -> None:
    from sklearn.neighbors import NearestNeighbors

    maps = []
    for cells in (adata, adata[np.random.default_rng(6).permutation(700)].copy()):
        found = NearestNeighbors(n_neighbors=15).fit(cells.obsm["X_pca"]).kneighbors(cells.obsm["X_pca"])
        vc.tl.embed(cells, knn=found[::-1], key_added="map", **FEW)
        maps.append(cells[adata.obs_names].obsm["map"])
    np.testing.assert_array_equal(*maps)


def test_copy_leaves_the_original_alone(adata: ad.AnnData) -> None:
    before = snapshot(adata)
    made = vc.tl.embed(adata, key_added="new", copy=True, **FEW)
    assert made is not None and "new" in made.obsm
    assert snapshot(adata) == before


class TestWhichNeighbors:
    def test_stored_connectivities_by_default(self, adata: ad.AnnData) -> None:
        plan = vc.tl.plan(adata)
        assert "knn" not in plan.stages and plan.stages["graph"].name == "precomputed"

    def test_a_smaller_n_neighbors_alone_takes_the_nearest_of_the_stored(self, adata: ad.AnnData) -> None:
        sc.pp.neighbors(adata, n_neighbors=20)
        plan = vc.tl.plan(adata, n_neighbors=10)
        assert plan.stages["knn"].name == "given"
        sliced = vc.tl.embed(adata, n_neighbors=10, copy=True, **FEW)
        fresh = vc.tl.embed(adata, n_neighbors=10, knn="exact", copy=True, **FEW)
        np.testing.assert_allclose(sliced.uns["umap"]["loss"][0], fresh.uns["umap"]["loss"][0], rtol=1e-3)

    def test_a_larger_n_neighbors_is_computed_afresh(self, adata: ad.AnnData) -> None:
        assert vc.tl.plan(adata, n_neighbors=40).stages["knn"].name == "exact"

    @pytest.mark.parametrize(
        "given",
        [
            {"use_rep": "X_pca"},
            {"n_pcs": 5},
            {"metric": "cosine"},
            {"metric": "euclidean"},
            {"knn": "exact"},
            {"graph": "fuzzy"},
        ],
    )
    def test_any_of_the_others_is_computed_afresh(self, adata: ad.AnnData, given: dict) -> None:
        assert vc.tl.plan(adata, **given).stages["knn"].name == "exact"

    def test_fresh_neighbors_come_from_what_the_stored_were_made_from(self, adata: ad.AnnData) -> None:
        adata.obsm["X_other"] = adata.obsm["X_pca"][:, :7].copy()
        sc.pp.neighbors(adata, use_rep="X_other")
        assert vc.tl.plan(adata, n_neighbors=30).representation == "X_other"

    def test_the_metric_of_the_stored_neighbors_is_kept(self, adata: ad.AnnData) -> None:
        sc.pp.neighbors(adata, metric="cosine")
        for options in ({}, {"n_neighbors": 10}, {"n_neighbors": 40}):
            assert vc.tl.plan(adata, **options).metric == "cosine"
        assert vc.tl.plan(adata, metric="euclidean").metric == "euclidean"

    def test_neighbors_key(self, adata: ad.AnnData) -> None:
        sc.pp.neighbors(adata, n_neighbors=5, key_added="five")
        vc.tl.embed(adata, neighbors_key="five", **FEW)
        assert adata.uns["umap"]["params"]["neighbors_key"] == "five"

    def test_unknown_neighbors_key_says_which_exist(self, adata: ad.AnnData) -> None:
        with pytest.raises(InputError, match="neighbors_key='neighbours'.*'neighbors'.*Did you mean 'neighbors'"):
            vc.tl.embed(adata, neighbors_key="neighbours")

    def test_connectivities_alone(self) -> None:
        adata = plain()
        adata.obsp["connectivities"] = sparse.random(60, 60, density=0.2, random_state=0, format="csr")
        adata.obsp["connectivities"] = adata.obsp["connectivities"].maximum(adata.obsp["connectivities"].T)
        adata.uns["neighbors"] = {"connectivities_key": "connectivities"}
        vc.tl.embed(adata, **FEW)
        assert adata.uns["umap"]["backends"]["graph"] == "precomputed@vicinal"

    def test_a_graph_without_any_representation(self, adata: ad.AnnData) -> None:
        alone = ad.AnnData(
            sparse.csr_matrix((700, 900), dtype=np.float32), obsp={"connectivities": adata.obsp["connectivities"]}
        )
        vc.tl.embed(alone, **FEW)
        assert np.isfinite(alone.obsm["X_umap"]).all() and alone.uns["umap"]["score"] == {}

    def test_a_graph_of_another_size_is_refused(self, adata: ad.AnnData) -> None:
        with pytest.raises(InputError, match=r"graph: shape \(10, 10\) does not fit 700 cells"):
            vc.tl.embed(adata, graph=sparse.eye(10, format="csr"))

    def test_a_matrix_as_graph(self, adata: ad.AnnData) -> None:
        by_key = vc.tl.embed(adata, copy=True, **FEW)
        given = vc.tl.embed(adata, graph=adata.obsp["connectivities"].tocoo(), copy=True, **FEW)
        assert np.array_equal(by_key.obsm["X_umap"], given.obsm["X_umap"])

    @pytest.mark.parametrize("missing", ["minus one", "unsigned maximum", "infinite distance"])
    def test_neighbors_given_as_arrays(self, missing: str) -> None:
        adata = plain()
        gaps = np.linalg.norm(adata.obsm["X_pca"][:, None] - adata.obsm["X_pca"][None], axis=2)
        indices, distances = np.argsort(gaps, axis=1)[:, :8], np.sort(gaps, axis=1)[:, :8]
        whole = vc.tl.embed(adata, knn=(indices[:, :7], distances[:, :7]), copy=True, **FEW)
        if missing == "unsigned maximum":
            indices = indices.astype(np.uint32)
        indices[:, 7] = {"minus one": -1, "unsigned maximum": np.iinfo(np.uint32).max}.get(missing, indices[:, 7])
        distances[:, 7] = np.inf
        holed = vc.tl.embed(adata, knn=(indices, distances), n_neighbors=8, copy=True, **FEW)
        assert holed.uns["umap"]["backends"]["knn"] == "given@vicinal"
        np.testing.assert_allclose(holed.uns["umap"]["loss"][0], whole.uns["umap"]["loss"][0], rtol=0.2)

    def test_given_arrays_say_how_many_neighbors_they_hold(self) -> None:
        adata = plain()
        gaps = np.linalg.norm(adata.obsm["X_pca"][:, None] - adata.obsm["X_pca"][None], axis=2)
        with_self = (np.argsort(gaps, axis=1)[:, :8], np.sort(gaps, axis=1)[:, :8])
        for knn in (with_self, (with_self[0][:, 1:], with_self[1][:, 1:])):
            assert vc.tl.plan(adata, knn=knn).n_neighbors == 8
            with pytest.raises(InputError, match="n_neighbors=9 is not allowed: the knn arrays hold 8"):
                vc.tl.plan(adata, knn=knn, n_neighbors=9)

    @pytest.mark.parametrize(
        "params",
        [None, [1, 2], {"n_neighbors": np.array([5, 5]), "n_pcs": "None"}, {"use_rep": np.nan}, {"n_pcs": 99}],
    )
    def test_whatever_else_is_recorded_is_no_obstacle(self, adata: ad.AnnData, params: object) -> None:
        adata.uns["neighbors"] = {"params": params}
        for n_neighbors in (None, 5, 30):
            plan = vc.tl.plan(adata, n_neighbors=n_neighbors)
            assert plan.representation == "X_pca" and plan.n_pcs is None

    def test_a_lost_representation_is_noted_and_its_n_pcs_forgotten(self, adata: ad.AnnData) -> None:
        adata.uns["neighbors"]["params"] = {"n_neighbors": 15, "use_rep": "X_scVI", "n_pcs": 10}
        plan = vc.tl.plan(adata)
        assert plan.representation == "X_pca" and plan.n_pcs is None
        assert any("'X_scVI', which the stored neighbours were made from, is not there" in note for note in plan.notes)

    @pytest.mark.parametrize(
        ("given", "recorded"),
        [({}, "neighbors"), ({"n_neighbors": 5}, "neighbors"), ({"use_rep": "X_pca"}, None), ({"graph": 0}, None)],
    )
    def test_neighbors_key_is_recorded_where_it_was_used(
        self, adata: ad.AnnData, given: dict, recorded: str | None
    ) -> None:
        given = {**given, "graph": adata.obsp["connectivities"]} if "graph" in given else given
        assert vc.tl.plan(adata, neighbors_key="neighbors", **given).neighbors_key == recorded

    def test_a_scikit_learn_transformer(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, knn=KNeighborsTransformer(n_neighbors=14), key_added="sk", **FEW)
        vc.tl.embed(adata, knn="exact", key_added="own", **FEW)
        np.testing.assert_allclose(adata.uns["sk"]["loss"][0], adata.uns["own"]["loss"][0], rtol=1e-3)

    def test_disconnection_distance_cuts_far_neighbors(self) -> None:
        adata = plain()
        adata.obsm["X_pca"][0] += 100
        vc.tl.embed(adata, n_neighbors=10, disconnection_distance=50.0, **FEW)
        start = vc.tl.start(adata, n_neighbors=10, disconnection_distance=50.0)
        assert start.layout.shape == (60, 2) and np.diff(start._run.graph.indptr)[0] == 0


class TestInit:
    def test_obsm_key_with_or_without_prefix(self, adata: ad.AnnData) -> None:
        for init in ("X_umap", "umap"):
            start = vc.tl.start(adata, init=init).layout
            assert np.array_equal(start, adata.obsm["X_umap"].astype(np.float32))

    def test_array(self, adata: ad.AnnData, rng: np.random.Generator) -> None:
        positions = rng.normal(size=(700, 2))
        assert np.array_equal(vc.tl.start(adata, init=positions).layout, positions.astype(np.float32))

    def test_paga(self, adata: ad.AnnData) -> None:
        with pytest.raises(InputError, match="sc.tl.paga"):
            vc.tl.embed(adata, init="paga")
        sc.tl.paga(adata, groups="bulk_labels")
        sc.pl.paga(adata, show=False)
        vc.tl.embed(adata, init="paga", **FEW)
        assert adata.uns["umap"]["backends"]["init"] == "paga@vicinal"

    def test_unknown_name_lists_backends_and_keys(self, adata: ad.AnnData) -> None:
        with pytest.raises(InputError, match="init='spectrl'.*'spectral'.*'X_pca'.*Did you mean 'spectral'"):
            vc.tl.embed(adata, init="spectrl")

    @pytest.mark.parametrize("init", ["spectral", "pca", "random"])
    def test_named(self, adata: ad.AnnData, init: str) -> None:
        start = vc.tl.start(adata, init=init).layout
        assert np.ptp(start, axis=0).max() == pytest.approx(10, rel=0.01)


class TestBadInput:
    """Each is refused with one clear line, and the AnnData is as it was."""

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"method": "umpa"}, "method='umpa' is unknown.*Did you mean 'umap'"),
            ({"knn": "exakt"}, "knn='exakt' is unknown.*Did you mean 'exact'"),
            ({"graph": "fuzy"}, "graph='fuzy'.*'fuzzy'"),
            ({"objective": "tsn"}, "objective='tsn'"),
            ({"optimizer": object()}, "optimizer is an object.*'start'"),
            ({"min_dst": 0.1}, "unknown parameter 'min_dst'.*Did you mean 'min_dist'"),
            ({"n_components": 0}, "n_components=0.*1 to 10"),
            ({"n_components": 2.5}, "n_components=2.5"),
            ({"n_neighbors": 60}, "n_neighbors=60 is not allowed for 60 cells"),
            ({"n_neighbors": 1}, "n_neighbors=1 is not allowed"),
            ({"n_neighbors": "15"}, "n_neighbors='15'"),
            ({"use_rep": "X_pcaa"}, "use_rep='X_pcaa'.*Did you mean 'X_pca'"),
            ({"n_pcs": 7}, "n_pcs=7.*6 columns"),
            ({"n_pcs": 0}, "n_pcs=0.*6 columns"),
            ({"n_pcs": True}, "n_pcs=True is not allowed; give how many columns"),
            ({"knn": []}, r"knn=\[\] is not allowed.*a tuple \(indices, distances\)"),
            ({"graph": np.ones((60, 60))}, r"graph is an array of shape \(60, 60\).*scipy.sparse"),
            ({"init": [[0.0, 0.0]]}, "init is a list.*a numpy array"),
            ({"knn_recall__k": 3}, "k=3"),
            ({"metric": "euclidian"}, "euclidian"),
            ({"metric": 3}, "metric=3 is not allowed; give a metric's name"),
            ({"random_state": "None"}, "random_state='None'"),
            ({"random_state": 1.5}, "random_state=1.5"),
            ({"n_jobs": 0}, "n_jobs=0"),
            ({"n_epochs": -1}, "n_epochs"),
            ({"min_dist": -0.1}, "min_dist"),
            ({"min_dist": 3.0, "spread": 1.0}, "min_dist"),
            ({"negative_sample_rate": -1}, "negative_sample_rate"),
            ({"init": np.zeros((3, 2))}, "60"),
            ({"knn": (np.zeros((60, 4), int),)}, "tuple of 1"),
            ({"knn": (np.zeros((59, 4), int), np.zeros((59, 4)))}, "60"),
            ({"knn": (np.full((60, 4), 99), np.ones((60, 4)))}, "60|59"),
            ({"graph": "precomputed"}, "stored connectivities"),
            ({"key_added": "X_pca"}, "key_added='X_pca' would overwrite"),
            ({"key_added": "a/b"}, "key_added='a/b'"),
            ({"neighbors_key": "nope"}, "neighbors_key='nope'"),
        ],
    )
    def test_arguments(self, kwargs: dict, message: str) -> None:
        adata = plain()
        before = snapshot(adata)
        with pytest.raises(InputError, match=f"(?s){message}"):
            vc.tl.embed(adata, **kwargs)
        assert snapshot(adata) == before

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_non_finite_values_are_counted_and_located(self, value: float) -> None:
        adata = plain()
        adata.obsm["X_pca"][[4, 9], 1] = value
        kind = "2 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 2 infinite"
        with pytest.raises(
            InputError, match=rf"'X_pca' holds {kind} values .as float32. in 2 of 60 cells; the first: 4 \(4\), 9 \(9\)"
        ):
            vc.tl.embed(adata)
        assert "X_umap" not in adata.obsm

    def test_missing_representation_says_what_to_run(self) -> None:
        adata = ad.AnnData(np.ones((20, 80), dtype=np.float32))
        with pytest.raises(InputError, match=r"sc\.pp\.pca\(adata\)"):
            vc.tl.embed(adata)

    def test_not_an_anndata(self) -> None:
        with pytest.raises(InputError, match="adata is a ndarray"):
            vc.tl.embed(np.zeros((5, 5)))

    def test_no_cells(self) -> None:
        with pytest.raises(InputError, match="no cells"):
            vc.tl.embed(ad.AnnData(np.zeros((0, 5), dtype=np.float32)))

    def test_key_added_may_replace_a_map(self) -> None:
        adata = plain()
        for _ in range(2):
            vc.tl.embed(adata, key_added="mine", **FEW)
        assert "mine" in adata.obsm

    @pytest.mark.parametrize("key", ["neighbors", "pca"])
    def test_key_added_may_not_replace_another_entry(self, adata: ad.AnnData, key: str) -> None:
        with pytest.raises(InputError, match=f"would overwrite uns\\['{key}'\\]"):
            vc.tl.embed(adata, key_added=key)


class TestOddButAllowed:
    @pytest.mark.parametrize("n", [*range(1, 9), 14, 15, 16, 40])
    @pytest.mark.parametrize("n_components", [1, 2, 3])
    def test_few_cells(self, n: int, n_components: int) -> None:
        adata = plain(n)
        vc.tl.embed(adata, n_components=n_components, **FEW)
        assert adata.obsm["X_umap"].shape == (n, n_components) and np.isfinite(adata.obsm["X_umap"]).all()

    def test_the_default_n_neighbors_is_clipped_and_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("INFO", logger="vicinal"):
            plan = vc.tl.plan(plain(9))
        assert plan.n_neighbors == 9 and "clipped from 15 to 9" in caplog.text

    def test_isolated_cells_and_several_components(self, caplog: pytest.LogCaptureFixture) -> None:
        blocks = [sparse.csr_matrix(np.ones((20, 20)) - np.eye(20)) for _ in range(3)]
        graph = sparse.block_diag([*blocks, sparse.csr_matrix((4, 4))], format="csr")
        adata = plain(64)
        vc.tl.embed(adata, graph=graph, **FEW)
        assert np.isfinite(adata.obsm["X_umap"]).all() and "4 of 64 cells have no neighbour" in caplog.text

    def test_ninety_nine_percent_duplicates(self) -> None:
        adata = plain(300)
        adata.obsm["X_pca"][3:] = adata.obsm["X_pca"][0]
        vc.tl.embed(adata, **FEW)
        layout = adata.obsm["X_umap"]
        assert np.isfinite(layout).all() and (layout.std(axis=0) > 0.5).all()

    def test_constant_columns(self) -> None:
        adata = plain()
        adata.obsm["X_pca"][:, 2:] = 3.0
        vc.tl.embed(adata, init="pca", **FEW)
        assert np.isfinite(adata.obsm["X_umap"]).all()

    def test_every_cell_the_same(self) -> None:
        adata = plain()
        adata.obsm["X_pca"][:] = 1.0
        vc.tl.embed(adata, **FEW)
        assert np.isfinite(adata.obsm["X_umap"]).all()

    @pytest.mark.parametrize(
        "change",
        [
            lambda x: np.asfortranarray(x),
            lambda x: np.round(x * 100).astype(np.int64),
            lambda x: x.astype(np.float64),
            lambda x: sparse.csr_matrix(x),
        ],
    )
    def test_forms_of_array(self, change) -> None:  # type: ignore[no-untyped-def]
        adata, same = plain(), plain()
        adata.obsm["X_pca"] = change(np.round(adata.obsm["X_pca"], 2))
        back = adata.obsm["X_pca"]
        same.obsm["X_pca"] = np.ascontiguousarray(back.toarray() if sparse.issparse(back) else back, dtype=np.float32)
        for each in (adata, same):
            vc.tl.embed(each, **FEW)
        assert np.array_equal(adata.obsm["X_umap"], same.obsm["X_umap"])

    def test_read_only_arrays(self, adata: ad.AnnData) -> None:
        adata.obsm["X_pca"].setflags(write=False)
        for part in ("data", "indices", "indptr"):
            getattr(adata.obsp["connectivities"], part).setflags(write=False)
        vc.tl.embed(adata, **FEW)
        vc.tl.embed(adata, n_neighbors=10, knn="exact", **FEW)

    @pytest.mark.parametrize("n", [1, 2, 3, 5, 15, 16])
    @pytest.mark.parametrize("knn", ["exact", "pynndescent", "given", "transformer"])
    @pytest.mark.parametrize("init", ["spectral", "pca", "random", "array", "obsm", "paga"])
    def test_few_cells_by_every_backend(self, n: int, knn: str, init: str) -> None:
        adata = plain(n)
        adata.obsm["X_two"] = adata.obsm["X_pca"][:, :2].copy()
        adata.obs["group"] = [str(i % 2) for i in range(n)]
        adata.uns["paga"] = {"pos": np.array([[0.0, 0.0], [1.0, 1.0]])[: min(n, 2)], "groups": "group"}
        gaps = np.linalg.norm(adata.obsm["X_pca"][:, None] - adata.obsm["X_pca"][None], axis=2)
        stages = {
            "given": (np.argsort(gaps, axis=1), np.sort(gaps, axis=1)),
            "transformer": KNeighborsTransformer(n_neighbors=max(n - 1, 1)),
            "array": adata.obsm["X_two"],
            "obsm": "two",
        }
        vc.tl.embed(adata, knn=stages.get(knn, knn), init=stages.get(init, init), **FEW)
        assert adata.obsm["X_umap"].shape == (n, 2) and np.isfinite(adata.obsm["X_umap"]).all()

    def test_numbers_of_numpy_are_recorded(self) -> None:
        adata = plain()
        vc.tl.embed(adata, min_dist=np.float32(0.25), negative_sample_rate=np.int64(3), n_epochs=np.int32(5))
        params = adata.uns["umap"]["params"]
        assert (params["min_dist"], params["negative_sample_rate"], params["n_epochs"]) == (0.25, 3, 5)

    def test_a_view_of_a_backed_file_is_refused_before_the_work(self, adata: ad.AnnData, tmp_path: Path) -> None:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        view = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")[:100]
        for verb in (vc.tl.embed, vc.tl.start, vc.pp.neighbors, vc.tl.score):
            with pytest.raises(InputError, match="view of a backed AnnData.*to_memory"):
                verb(view)

    def test_a_view(self, adata: ad.AnnData) -> None:
        view = adata[:300]
        vc.tl.embed(view, n_neighbors=10, use_rep="X_pca", **FEW)
        assert view.obsm["X_umap"].shape == (300, 2) and "loss" in view.uns["umap"]
        assert "loss" not in adata.uns.get("umap", {})

    def test_backed(self, adata: ad.AnnData, tmp_path: Path) -> None:
        adata.write_h5ad(tmp_path / "cells.h5ad")
        backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        vc.tl.embed(backed, **FEW)
        vc.tl.embed(backed, key_added="from_x", use_rep="X", **FEW)
        in_memory = vc.tl.embed(adata, copy=True, **FEW)
        assert np.array_equal(backed.obsm["X_umap"], in_memory.obsm["X_umap"])

    def test_repeated_obs_names(self) -> None:
        adata = plain()
        adata.obs_names = ["same"] * adata.n_obs
        vc.tl.embed(adata, **FEW)
        assert np.isfinite(adata.obsm["X_umap"]).all()

    def test_raw_x_with_few_columns(self) -> None:
        adata = plain()
        del adata.obsm["X_pca"]
        assert vc.tl.plan(adata).representation == "X"

    def test_no_epochs_gives_the_first_layout(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, n_epochs=0)
        assert np.array_equal(adata.obsm["X_umap"], vc.tl.start(adata).layout)

    def test_a_directed_graph(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, knn="exact", symmetrize=False, **FEW)
        assert adata.uns["umap"]["params"]["symmetrize"] is False


class TestAfterwards:
    @pytest.mark.parametrize("form", ["h5ad", "zarr"])
    def test_all_of_it_survives_a_round_trip(self, adata: ad.AnnData, tmp_path: Path, form: str) -> None:
        vc.tl.embed(adata, knn="exact", n_neighbors=12, random_state=2**40, **FEW)
        path = tmp_path / f"cells.{form}"
        getattr(adata, f"write_{form}")(path)
        back = getattr(ad, f"read_{form}")(path)
        assert np.array_equal(back.obsm["X_umap"], adata.obsm["X_umap"])
        assert_same(back.uns["umap"], adata.uns["umap"])

    def test_scanpy_goes_on_with_it(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, **FEW)
        sc.pl.umap(adata, color="bulk_labels", show=False)
        vc.tl.embed(adata, key_added="mine", **FEW)
        sc.pl.embedding(adata, basis="mine", color="bulk_labels", show=False)
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
        assert adata.obs["leiden"].nunique() > 1


def assert_same(back: object, kept: object) -> None:
    if isinstance(kept, dict):
        assert set(back) == set(kept)
        for name, value in kept.items():
            assert_same(back[name], value)
    else:
        np.testing.assert_array_equal(back, kept)
        assert isinstance(kept, str | bool | int | float | np.ndarray)


class TestFailingBackends:
    class NanInit:
        def place(self, request):  # type: ignore[no-untyped-def]
            return np.full((request.graph.n_obs, request.n_components), np.nan, dtype=np.float32)

    class Raising:
        def place(self, request):  # type: ignore[no-untyped-def]
            raise ZeroDivisionError("by design")

    class Exiting:
        def place(self, request):  # type: ignore[no-untyped-def]
            raise SystemExit(3)

    @pytest.mark.parametrize(
        ("init", "problem"),
        [
            (NanInit(), "not finite for 60 cells"),
            (Raising(), "ZeroDivisionError: by design"),
            (Exiting(), "SystemExit: 3"),
        ],
    )
    def test_the_error_names_the_stage_and_nothing_is_written(self, init: object, problem: str) -> None:
        adata = plain()
        before = snapshot(adata)
        with pytest.raises(StageError, match=f"Stage 'init'.*{type(init).__name__}.*{problem}"):
            vc.tl.embed(adata, init=init)
        assert snapshot(adata) == before
