"""New cells in an existing map, through every way a model can travel."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import InputError, ModelError
from vicinal.models.store import handle_of


def handle(basis="X_umap", method="umap", use_rep="X_pca", n_features=5, n_pcs=None, **changes):
    representation = {"name": use_rep, "n_features": n_features, "n_pcs": n_pcs}
    reusable = {
        "kind": "landmarks",
        "method": method,
        "backends": {"knn": "exact@vicinal"},
        "versions": {"vicinal": "0.1.0"},
        "params": {"min_dist": 0.5},
        "representation": representation,
        "metric": "euclidean",
        "n_neighbors": 6,
    }
    return handle_of({**reusable, **changes}, basis)


def put_map(adata, key="umap", basis="X_umap", **changes):
    adata.obsm[basis] = np.random.default_rng(len(basis)).normal(size=(adata.n_obs, 2)).astype(np.float32)
    adata.uns[key] = {"params": {"min_dist": 0.5}, "model": handle(basis, **changes)}
    return adata


def cells(n, seed=0, n_genes=4):
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(rng.normal(size=(n, n_genes)).astype(np.float32))
    adata.obs_names = [f"cell{seed}_{i}" for i in range(n)]
    adata.var_names = [f"gene{i}" for i in range(n_genes)]
    adata.obsm["X_pca"] = rng.normal(size=(n, 5)).astype(np.float32)
    return adata


@pytest.fixture
def reference():
    return put_map(cells(50))


@pytest.fixture
def new():
    return cells(20, seed=1)


@pytest.fixture
def model(reference, tmp_path):
    vc.models.save(reference, tmp_path / "model")
    return vc.models.load(tmp_path / "model")


def untouched(adata) -> None:
    assert set(adata.obsm) == {"X_pca"}
    assert not adata.uns


def test_writes_places_and_where_they_come_from(new, model):
    assert vc.tl.project(new, model) is None
    assert new.obsm["X_umap"].shape == (20, 2)
    assert new.obsm["X_umap"].dtype == np.float32
    assert new.uns["umap"]["params"] == {
        "method": "umap",
        "n_components": 2,
        "n_neighbors": 6,
        "use_rep": "X_pca",
        "metric": "euclidean",
    }
    origin = json.loads(new.uns["umap"]["projected_from"])
    assert origin["fingerprint"] == model.manifest.fingerprint
    assert origin["n_obs_reference"] == origin["n_landmarks"] == 50


@pytest.mark.parametrize("given", ["model", "path", "string", "adata"])
def test_a_model_may_be_given_in_any_form(reference, new, model, tmp_path, given):
    forms = {"model": model, "path": tmp_path / "model", "string": str(tmp_path / "model"), "adata": reference}
    expected = vc.tl.project(new, model, copy=True).obsm["X_umap"]
    vc.tl.project(new, forms[given])
    np.testing.assert_array_equal(new.obsm["X_umap"], expected)


def test_copy_leaves_the_cells_alone(new, model):
    copied = vc.tl.project(new, model, copy=True)
    untouched(new)
    assert "X_umap" in copied.obsm


def test_key_added_names_both_slots_and_can_be_written_again(new, model):
    for _ in range(2):
        vc.tl.project(new, model, key_added="mapped")
    assert set(new.obsm) == {"X_pca", "mapped"}
    assert set(new.uns) == {"mapped"}


def test_reference_cells_land_on_their_own_place(reference, model):
    again = vc.tl.project(reference[::-1], model, copy=True)
    np.testing.assert_array_equal(again.obsm["X_umap"], reference.obsm["X_umap"][::-1])


def test_model_and_reference_are_unchanged(reference, new, tmp_path):
    vc.models.save(reference, tmp_path / "before")
    text = reference.uns["umap"]["model"]["manifest"]
    model = vc.models.load(tmp_path / "before")
    vc.tl.project(new, model)
    vc.tl.project(new, reference)
    model.save(tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()
    assert reference.uns["umap"]["model"]["manifest"] == text


def test_bits_do_not_depend_on_batch_order_or_threads(new, model):
    whole = vc.tl.project(new, model, n_jobs=1, copy=True)
    order = np.random.default_rng(0).permutation(new.n_obs)
    shuffled = vc.tl.project(new[order], model, n_jobs=3, copy=True)
    np.testing.assert_array_equal(shuffled.obsm["X_umap"], whole.obsm["X_umap"][order])
    one = [vc.tl.project(new[[i]], model, copy=True).obsm["X_umap"] for i in range(5)]
    np.testing.assert_array_equal(np.vstack(one), whole.obsm["X_umap"][:5])


@pytest.mark.parametrize("suffix", ["h5ad", "zarr", "model"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_the_same_bits_in_a_new_process(reference, new, model, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    {"h5ad": reference.write_h5ad, "zarr": reference.write_zarr}.get(suffix, lambda p: vc.models.save(reference, p))(
        path
    )
    new.write_h5ad(tmp_path / "new.h5ad")
    script = """
import hashlib, sys, anndata, vicinal as vc
path, new = sys.argv[1], anndata.read_h5ad(sys.argv[2])
read = {"h5ad": anndata.read_h5ad, "zarr": anndata.read_zarr}.get(path.rpartition(".")[2], vc.models.load)
vc.tl.project(new, read(path))
print(hashlib.sha256(new.obsm["X_umap"].tobytes()).hexdigest())
"""
    arguments = [sys.executable, "-c", script, path, tmp_path / "new.h5ad"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    vc.tl.project(new, reference)
    assert done.stdout.strip() == hashlib.sha256(new.obsm["X_umap"].tobytes()).hexdigest(), done.stderr


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_what_is_written_survives_the_file(new, model, tmp_path, suffix):
    vc.tl.project(new, model)
    {"h5ad": new.write_h5ad, "zarr": new.write_zarr}[suffix](tmp_path / f"a.{suffix}")
    back = {"h5ad": ad.read_h5ad, "zarr": ad.read_zarr}[suffix](tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(back.obsm["X_umap"], new.obsm["X_umap"])
    assert back.uns["umap"] == new.uns["umap"]


def test_views_and_backed_cells(new, model, tmp_path):
    expected = vc.tl.project(new, model, copy=True).obsm["X_umap"]
    view = new[5:10]
    vc.tl.project(view, model)
    np.testing.assert_array_equal(view.obsm["X_umap"], expected[5:10])
    new.write_h5ad(tmp_path / "new.h5ad")
    backed = ad.read_h5ad(tmp_path / "new.h5ad", backed="r")
    np.testing.assert_array_equal(vc.tl.project(backed, model, copy=True).obsm["X_umap"], expected)
    untouched(new)


@pytest.mark.parametrize("form", ["float64", "fortran", "read-only", "sparse", "frame"])
def test_forms_of_the_representation(new, model, form):
    expected = vc.tl.project(new, model, copy=True).obsm["X_umap"]
    values = new.obsm["X_pca"].copy()
    values.flags.writeable = form != "read-only"
    new.obsm["X_pca"] = {
        "float64": values.astype(float),
        "fortran": np.asfortranarray(values),
        "sparse": sparse.csr_matrix(values),
        "frame": pd.DataFrame(values, index=new.obs_names),
    }.get(form, values)
    vc.tl.project(new, model)
    np.testing.assert_array_equal(new.obsm["X_umap"], expected)


def test_the_first_pcs_are_enough(new):
    reference = put_map(cells(50), n_features=3, n_pcs=3)
    expected = vc.tl.project(new, reference, copy=True).obsm["X_umap"]
    new.obsm["X_pca"] = new.obsm["X_pca"][:, :3]
    vc.tl.project(new, reference)
    np.testing.assert_array_equal(new.obsm["X_umap"], expected)


class TestByName:
    """Where the representation is .X or a layer, its columns are genes."""

    @pytest.fixture
    def by_genes(self):
        return put_map(cells(50), use_rep="X", n_features=4)

    @pytest.fixture
    def expected(self, by_genes, new):
        return vc.tl.project(new, by_genes, copy=True).obsm["X_umap"]

    @pytest.mark.parametrize("form", ["dense", "csr", "csc", "backed dense", "backed csr"])
    def test_shuffled_and_further_genes_change_nothing(self, by_genes, new, expected, tmp_path, form):
        wide = ad.concat([new, ad.AnnData(np.ones((20, 2), np.float32), obs=new.obs)], axis="var")
        wide.var_names = [*new.var_names, "other1", "other2"]
        wide = wide[:, ["other2", "gene3", "gene0", "other1", "gene2", "gene1"]].copy()
        wide.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(form.split()[-1], np.asarray)(wide.X)
        if form.startswith("backed"):
            wide.write_h5ad(tmp_path / "wide.h5ad")
            wide = ad.read_h5ad(tmp_path / "wide.h5ad", backed="r")
        vc.models.save(by_genes, tmp_path / "model")
        placed = vc.tl.project(wide, tmp_path / "model", copy=True)
        np.testing.assert_array_equal(placed.obsm["X_umap"], expected)

    def test_names_travel_with_the_model(self, by_genes, tmp_path):
        vc.models.save(by_genes, tmp_path / "model")
        assert vc.models.load(tmp_path / "model").manifest.features == ("gene0", "gene1", "gene2", "gene3")

    def test_missing_genes_are_named(self, by_genes, new):
        with pytest.raises(InputError, match="2 of the model's 4 features are not in var_names: 'gene2', 'gene3'"):
            vc.tl.project(new[:, :2].copy(), by_genes)

    def test_only_the_first_columns_where_n_pcs_said_so(self, new):
        reference = put_map(cells(50), use_rep="X", n_features=3, n_pcs=3)
        expected = vc.tl.project(new, reference, copy=True).obsm["X_umap"]
        new.X[:, 3] = 1e6
        shuffled = vc.tl.project(new[:, ["gene3", "gene2", "gene0", "gene1"]], reference, copy=True)
        np.testing.assert_array_equal(shuffled.obsm["X_umap"], expected)

    def test_layers_too(self, new):
        reference = put_map(cells(50), use_rep="scaled", n_features=4)
        for adata in (reference, new):
            adata.layers["scaled"] = adata.X * 2
        swapped = vc.tl.project(new[:, ::-1], reference, copy=True).obsm["X_umap"]
        np.testing.assert_array_equal(swapped, vc.tl.project(new, reference, copy=True).obsm["X_umap"])


class TestRefuses:
    """Each with a message that says what to do, and with nothing written."""

    def test_another_number_of_columns(self, new, model):
        new.obsm["X_pca"] = new.obsm["X_pca"][:, :4]
        with pytest.raises(InputError, match="'X_pca' has 4 columns here; the model was made from 5"):
            vc.tl.project(new, model)
        untouched(new)

    def test_missing_representation(self, new, model):
        new.obsm["X_other"] = new.obsm.pop("X_pca")
        with pytest.raises(InputError, match="reads 'X_pca', which this AnnData has not; its obsm has 'X_other'"):
            vc.tl.project(new, model)

    @pytest.mark.parametrize(("value", "says"), [(np.nan, "1 NaN and 0 infinite"), (-np.inf, "0 NaN and 1 infinite")])
    def test_values_that_are_no_numbers(self, new, model, value, says):
        new.obsm["X_pca"][7, 2] = value
        with pytest.raises(InputError, match=rf"{says} .* in 1 of 20 cells; the first: 7 \(cell1_7\)"):
            vc.tl.project(new, model)
        untouched(new)

    def test_no_cells(self, new, model):
        with pytest.raises(InputError, match="no cells"):
            vc.tl.project(new[:0].copy(), model)

    def test_a_slot_that_is_not_a_map(self, new, model):
        with pytest.raises(InputError, match="would overwrite obsm\\['X_pca'\\]"):
            vc.tl.project(new, model, key_added="X_pca")
        untouched(new)

    @pytest.mark.parametrize("n_jobs", [0, -2, 1.5, "all"])
    def test_threads(self, new, model, n_jobs):
        with pytest.raises(InputError, match="n_jobs"):
            vc.tl.project(new, model, n_jobs=n_jobs)
        untouched(new)

    def test_things_that_are_no_model(self, new):
        with pytest.raises(InputError, match="model={} is not allowed; give a Model"):
            vc.tl.project(new, {})
        with pytest.raises(ModelError, match="there is no model in adata.uns; make a map with vc.tl.embed"):
            vc.tl.project(new, new)
        with pytest.raises(InputError, match="adata is a list; expected an AnnData"):
            vc.tl.project([1], put_map(cells(50)))

    def test_a_folder_as_model(self, new, tmp_path):
        with pytest.raises(ModelError, match="this is a folder; name the file of a model"):
            vc.tl.project(new, tmp_path)

    def test_the_reference_itself_keeps_its_map(self, reference):
        its_own = reference.copy()
        with pytest.raises(InputError, match="own AnnData, whose map would be overwritten; give key_added="):
            vc.tl.project(its_own, its_own)
        vc.tl.project(its_own, its_own, key_added="again")
        assert "model" in its_own.uns["umap"] and "again" in its_own.obsm

    def test_a_graph_alone(self, new, tmp_path):
        reference = put_map(cells(50), representation=None)
        with pytest.raises(ModelError, match="'umap' was made from a graph alone.* use_rep="):
            vc.tl.project(new, reference)
        with pytest.raises(ModelError, match="'umap' was made from a graph alone"):
            vc.models.save(reference, tmp_path / "model")
        assert os.listdir(tmp_path) == []

    def test_a_reference_that_lost_its_parts(self, reference, new):
        lost = reference.copy()
        del lost.obsm["X_umap"]
        with pytest.raises(InputError, match="the map 'X_umap' of the model 'umap' is not in adata.obsm"):
            vc.tl.project(new, lost)
        del reference.obsm["X_pca"]
        with pytest.raises(InputError, match="reads 'X_pca', which this AnnData has not"):
            vc.tl.project(new, reference)


class TestSeveralMaps:
    """One AnnData with two of them."""

    @pytest.fixture
    def two(self):
        return put_map(put_map(cells(50)), "wide", "wide")

    def test_key_chooses(self, two, new, tmp_path):
        for key, basis in {"umap": "X_umap", "wide": "wide"}.items():
            vc.models.save(two, tmp_path / key, key=key)
            np.testing.assert_array_equal(vc.models.load(tmp_path / key).arrays["layout"], two.obsm[basis])
            vc.tl.project(two, two, key=key, key_added=f"again_{key}")
            np.testing.assert_array_equal(two.obsm[f"again_{key}"], two.obsm[basis])

    def test_without_a_key_they_are_listed(self, two, new):
        with pytest.raises(ModelError, match="several models, 'umap', 'wide'; name one with key="):
            vc.tl.project(new, two)

    def test_an_unknown_key(self, two, new):
        with pytest.raises(ModelError, match="key='umpa' has no model .* under 'umap', 'wide'. Did you mean 'umap'"):
            vc.tl.project(new, two, key="umpa")

    def test_places_without_a_model_are_no_model(self, two, new):
        vc.tl.project(new, two, key="wide")
        with pytest.raises(ModelError, match="there is no model"):
            vc.tl.project(cells(3), new)


@pytest.fixture(scope="module")
def halves():
    adata = vc.datasets.pbmc68k_reduced()
    order = np.random.default_rng(0).permutation(adata.n_obs)
    reference, held_out = adata[order[:350]].copy(), adata[order[350:]].copy()
    for slot in (held_out.obsm, held_out.obsp):
        for key in set(slot) - {"X_pca"}:
            del slot[key]
    vc.tl.embed(reference, use_rep="X_pca")
    return reference, held_out


class TestEndToEnd:
    """A map of one half of real cells, the other half placed in it."""

    def test_held_out_cells_land_among_their_kind(self, halves):
        reference, held_out = halves
        placed = vc.tl.project(held_out, reference, copy=True).obsm["X_umap"]
        distances = np.linalg.norm(placed[:, None] - reference.obsm["X_umap"][None], axis=2)
        near = np.argsort(distances, axis=1)[:, :15]
        labels = reference.obs["bulk_labels"].to_numpy()[near]
        votes = [max(set(row), key=list(row).count) for row in labels]
        by_pca = np.linalg.norm(held_out.obsm["X_pca"][:, None] - reference.obsm["X_pca"][None], axis=2)
        in_pca = reference.obs["bulk_labels"].to_numpy()[np.argsort(by_pca, axis=1)[:, :15]]
        votes_in_pca = [max(set(row), key=list(row).count) for row in in_pca]
        truth = held_out.obs["bulk_labels"].to_numpy()
        assert np.mean(votes == truth) > np.mean(votes_in_pca == truth) - 0.05

    def test_through_the_file_into_a_new_process(self, halves, tmp_path):
        reference, held_out = halves
        vc.models.save(reference, tmp_path / "map.vicinal")
        held_out.write_h5ad(tmp_path / "new.h5ad")
        script = """
import sys, anndata, vicinal as vc
new = anndata.read_h5ad(sys.argv[1])
vc.tl.project(new, sys.argv[2])
new.write_h5ad(sys.argv[3])
"""
        paths = [tmp_path / name for name in ("new.h5ad", "map.vicinal", "placed.h5ad")]
        done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        there = ad.read_h5ad(tmp_path / "placed.h5ad").obsm["X_umap"]
        here = vc.tl.project(held_out, reference, copy=True).obsm["X_umap"]
        np.testing.assert_array_equal(there, here)

    def test_reference_cells_keep_their_places_through_any_file(self, halves, tmp_path):
        reference, _ = halves
        reference.write_h5ad(tmp_path / "a.h5ad")
        back = ad.read_h5ad(tmp_path / "a.h5ad")
        vc.tl.project(back, reference, key_added="again")
        np.testing.assert_array_equal(back.obsm["again"], reference.obsm["X_umap"])

    def test_a_map_of_a_graph_alone_says_so(self, halves):
        reference, held_out = halves
        alone = ad.AnnData(obs=reference.obs, obsp=dict(reference.obsp), uns={"neighbors": reference.uns["neighbors"]})
        vc.tl.embed(alone, n_epochs=5)
        with pytest.raises(ModelError, match="made from a graph alone"):
            vc.tl.project(held_out, alone)
