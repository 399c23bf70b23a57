"""New cells given as genes, where the map was made from a PCA."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.adata.model import model_from_adata, read_rows
from vicinal.api import InputError

sc = pytest.importorskip("scanpy")

N_GENES, N_PCS = 120, 8


def counts(n, seed=0):
    """Return cells of three kinds, as whole numbers."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).gamma(0.6, 4.0, size=(3, N_GENES))
    values = rng.poisson(means[rng.integers(3, size=n)]).astype(np.float32)
    adata = ad.AnnData(sparse.csr_matrix(values))
    adata.obs_names = [f"cell{seed}_{i}" for i in range(n)]
    adata.var_names = [f"Gene{i}" for i in range(N_GENES)]
    return adata


def logs(n, seed=0, **log1p):
    adata = counts(n, seed)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, **log1p)
    return adata


def mapped(adata, **options):
    vc.tl.embed(adata, use_rep="X_pca", n_epochs=5, n_neighbors=10, n_jobs=1, **options)
    return adata


@pytest.fixture(scope="module")
def reference():
    adata = logs(150)
    sc.pp.highly_variable_genes(adata, n_top_genes=60)
    sc.pp.pca(adata, n_comps=N_PCS)
    return mapped(adata)


@pytest.fixture(scope="module")
def model(reference):
    return model_from_adata(reference)


@pytest.fixture
def new():
    return logs(40, seed=1)


@pytest.fixture
def expected(new, model):
    return vc.tl.project(new, model, copy=True).obsm["X_umap"]


def components(new, reference):
    """Return what sc.tl.ingest means to compute, with the reference's means."""
    mean = reference.X.toarray().astype(float).mean(axis=0)
    return (new.X.toarray().astype(float) - mean) @ reference.varm["PCs"]


def rewrite_in_chunks(path):
    """Store .X in blocks that hold a part of a row."""
    with h5py.File(path, "a") as file:
        values, attributes = file["X"][...], dict(file["X"].attrs)
        del file["X"]
        file.create_dataset("X", data=values, chunks=(9, 13)).attrs.update(attributes)


def refused(new, model, says, **options):
    before = set(new.obsm), set(new.uns)
    with pytest.raises(InputError, match=says):
        vc.tl.project(new, model, **options)
    assert (set(new.obsm), set(new.uns)) == before


class TestWhatTheModelCarries:
    """Taken from the AnnData when the model is made of it."""

    def test_genes_loadings_and_treatment(self, reference, model):
        used = reference.var["highly_variable"].to_numpy()
        assert model.genes.names == tuple(reference.var_names[used])
        np.testing.assert_allclose(model.genes.loadings, reference.varm["PCs"][used], atol=1e-6)
        np.testing.assert_allclose(model.genes.mean, reference.X.toarray()[:, used].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(model.genes.offset, 0, atol=1e-5)
        saw = model.genes.saw
        assert (saw["slot"], saw["log1p"], saw["target_sum"]) == ("X", {"base": None}, 1e4)
        assert saw["pca"]["mask_var"] == "highly_variable"
        assert saw["checked"]["n_cells"] == 16 and saw["checked"]["error"] < 1e-5

    @pytest.mark.parametrize("form", ["dense", "csc", "h5ad", "zarr", "backed"])
    @pytest.mark.filterwarnings("ignore:Writing zarr v2")
    def test_whatever_holds_the_reference(self, reference, model, tmp_path, form):
        other = reference.copy()
        other.X = {"dense": lambda x: x.toarray(), "csc": sparse.csc_matrix}.get(form, sparse.csr_matrix)(other.X)
        if form == "zarr":
            other.write_zarr(tmp_path / "a")
            other = ad.read_zarr(tmp_path / "a")
        if form in ("h5ad", "backed"):
            other.write_h5ad(tmp_path / "a")
            other = ad.read_h5ad(tmp_path / "a", backed="r" if form == "backed" else None)
        found = model_from_adata(other)
        assert found.genes.saw == model.genes.saw
        np.testing.assert_allclose(found.genes.mean, model.genes.mean, rtol=1e-6)
        np.testing.assert_array_equal(found.genes.loadings, model.genes.loadings)

    @pytest.mark.parametrize("options", [{"zero_center": False}, {"mask_var": None}, {"n_comps": 12}])
    def test_other_ways_to_make_the_pca(self, new, options):
        adata = logs(150)
        sc.pp.highly_variable_genes(adata, n_top_genes=60)
        sc.pp.pca(adata, **{"n_comps": N_PCS, **options})
        rows = read_rows(adata, model_from_adata(mapped(adata, n_pcs=N_PCS)))
        np.testing.assert_allclose(rows, adata.obsm["X_pca"][:, :N_PCS], atol=2e-5)

    def test_a_part_of_the_cells_is_enough(self, reference, new, expected):
        part = model_from_adata(mapped(reference[40:].copy(), init=reference.obsm["X_umap"][40:]))
        np.testing.assert_allclose(read_rows(new, part), components(new, reference), atol=1e-4)

    def test_a_layer_that_the_pca_was_made_from(self, new):
        adata = logs(150)
        adata.layers["lognorm"] = adata.X.copy()
        adata.X = counts(150).X
        sc.pp.pca(adata, n_comps=N_PCS, layer="lognorm")
        model = model_from_adata(mapped(adata))
        assert model.genes.slot == "lognorm"
        new.layers["lognorm"] = new.X.copy()
        by_layer = vc.tl.project(new, model, copy=True).obsm["X_umap"]
        del new.layers["lognorm"]
        np.testing.assert_array_equal(vc.tl.project(new, model, use_rep="X", copy=True).obsm["X_umap"], by_layer)

    @pytest.mark.parametrize("change", ["scaled", "counts", "fewer genes", "no loadings", "no layer", "NaN", "names"])
    def test_where_it_does_not_fit_the_model_says_why(self, reference, caplog, tmp_path, change):
        adata = reference.copy()
        if change == "scaled":
            sc.pp.scale(adata)
        elif change == "counts":
            adata.X = counts(150).X
        elif change == "fewer genes":
            adata = adata[:, ::2].copy()
        elif change == "no loadings":
            del adata.varm["PCs"]
        elif change == "no layer":
            adata.uns["pca"]["params"]["layer"] = "lognorm"
        elif change == "NaN":
            adata.X = adata.X.toarray()
            adata.X[1, np.flatnonzero(adata.var["highly_variable"])[0]] = np.nan
        else:
            adata.var_names = ["same"] * N_GENES
        with caplog.at_level(logging.INFO, logger="vicinal"):
            vc.models.save(adata, tmp_path / "a")
        says = {
            "no loadings": "needs a PCA, its loadings in adata.varm",
            "no layer": r"layers\['lognorm'\], which the PCA was made from, is not there",
            "NaN": ".X holds NaN",
            "names": "names of genes repeat",
        }.get(change, "made anew from .X, its components are not those that are stored")
        back = vc.models.load(tmp_path / "a")
        assert back.genes is None
        reason = back.manifest.extra["genes"]["absent"]
        assert [reason in record.message for record in caplog.records].count(True) == 1
        with pytest.raises(InputError, match=f"reads 'X_pca'.*Genes will not do: when it was saved, .*{says}"):
            vc.tl.project(logs(5), back)

    def test_what_is_no_pca_has_no_chain_and_no_reason(self, reference):
        adata = reference.copy()
        adata.obsm["X_scVI"] = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
        vc.tl.embed(adata, use_rep="X_scVI", n_epochs=2, n_jobs=1)
        model = model_from_adata(adata)
        assert model.genes is None and "genes" not in model.manifest.extra


class TestCellsAsGenes:
    """What is placed, and that nothing but the row matters."""

    def test_components_are_those_of_the_references_pca(self, reference, model, new):
        np.testing.assert_allclose(read_rows(new, model), components(new, reference), atol=1e-4)

    def test_reference_cells_land_on_their_own_places(self, reference, model):
        again = vc.tl.project(reference[::-1].copy(), model, copy=True).obsm["X_umap"]
        np.testing.assert_array_equal(again, reference.obsm["X_umap"][::-1])

    def test_shuffled_and_further_genes_change_nothing(self, model, new, expected):
        order = np.random.default_rng(0).permutation(N_GENES)
        wide = ad.concat([new[:, order], ad.AnnData(np.ones((40, 2), np.float32), obs=new.obs)], axis="var")
        wide.var_names = [*new.var_names[order], "other1", "other2"]
        np.testing.assert_array_equal(vc.tl.project(wide, model, copy=True).obsm["X_umap"], expected)

    @pytest.mark.parametrize(
        "form", ["dense", "fortran", "float64", "csc", "backed dense", "backed csr", "backed csc", "chunked", "dask"]
    )
    def test_the_same_bits_however_they_are_stored(self, model, new, expected, tmp_path, form, monkeypatch):
        values = {
            "fortran": lambda x: np.asfortranarray(x.toarray()),
            "float64": lambda x: x.astype(np.float64),
            "csc": sparse.csc_matrix,
            "csr": sparse.csr_matrix,
        }.get(form.split()[-1], lambda x: x.toarray())(new.X)
        new.X = values
        if form == "dask":
            array = pytest.importorskip("dask.array")
            new.X = array.from_array(values, chunks=(7, 11))
        if form in ("chunked",) or form.startswith("backed"):
            new.write_h5ad(tmp_path / "new")
            if form == "chunked":
                rewrite_in_chunks(tmp_path / "new")
            new = ad.read_h5ad(tmp_path / "new", backed="r")
        monkeypatch.setattr("vicinal.adata.pieces.PIECE_BYTES", 600)
        monkeypatch.setattr("vicinal.adata.genes.N_OF_A_PIECE", 7)
        np.testing.assert_array_equal(vc.tl.project(new, model, copy=True).obsm["X_umap"], expected)

    def test_the_same_bits_one_by_one_in_any_order_on_any_threads(self, model, new, expected):
        order = np.random.default_rng(0).permutation(40)
        shuffled = vc.tl.project(new[order].copy(), model, n_jobs=3, copy=True).obsm["X_umap"]
        np.testing.assert_array_equal(shuffled, expected[order])
        one = [vc.tl.project(new[[i]].copy(), model, copy=True).obsm["X_umap"] for i in range(40)]
        np.testing.assert_array_equal(np.vstack(one), expected)

    @pytest.mark.parametrize("suffix", ["zip", "h5ad"])
    def test_in_a_new_process(self, reference, new, expected, tmp_path, suffix):
        path = tmp_path / f"a.{suffix}"
        if suffix == "zip":
            vc.models.save(reference, path)
        else:
            reference.write_h5ad(path)
        new.write_h5ad(tmp_path / "new.h5ad")
        script = """
import hashlib, sys, anndata, vicinal as vc
new = anndata.read_h5ad(sys.argv[2])
vc.tl.project(new, sys.argv[1] if sys.argv[1].endswith("zip") else anndata.read_h5ad(sys.argv[1]))
assert not {"torch", "scanpy", "sklearn"} & set(sys.modules)
print(hashlib.sha256(new.obsm["X_umap"].tobytes()).hexdigest())
"""
        command = [sys.executable, "-c", script, path, tmp_path / "new.h5ad"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stdout.strip() == hashlib.sha256(expected.tobytes()).hexdigest(), done.stderr

    def test_missing_genes_are_taken_at_the_mean(self, reference, model, new):
        known = np.flatnonzero(new.var_names.isin(model.genes.names))
        lost = known[np.argsort(model.genes.weights)[:10]]
        kept = np.setdiff1d(np.arange(N_GENES), lost)
        filled = new.copy()
        filled.X = new.X.toarray()
        filled.X[:, lost] = reference.X.toarray()[:, lost].mean(axis=0)
        made = read_rows(new[:, kept].copy(), model, min_overlap=0.5)
        np.testing.assert_allclose(made, read_rows(filled, model), atol=1e-4)

    def test_nothing_is_changed(self, model, new):
        before = new.copy()
        vc.tl.project(new, model)
        np.testing.assert_array_equal(new.X.toarray(), before.X.toarray())
        assert set(new.obsm) == {"X_umap"} and set(new.uns) - set(before.uns) == {"umap"}
        assert json.loads(new.uns["umap"]["projected_from"])["fingerprint"] == model.manifest.fingerprint


class TestRefuses:
    """Each with a message that says what to do, and with nothing written."""

    def test_counts(self, model):
        refused(counts(40, 1), model, r"whole numbers, as counts are.*target_sum=10000\); sc.pp.log1p\(adata_new\)")

    def test_another_base(self, model):
        refused(logs(40, 1, base=2), model, "logarithms to base 2.0, the model was made from those to base e")

    def test_half_the_genes(self, model, new):
        half = new[:, : N_GENES // 2].copy()
        refused(half, model, r"of the model's 60 genes are not in var_names: 'Gene.*min_overlap=0.9 asks for 90%")
        vc.tl.project(half, model, min_overlap=0.2)
        assert np.isfinite(half.obsm["X_umap"]).all()

    def test_ensembl_ids(self, model, new):
        symbols = list(new.var_names)
        new.var_names = [f"ENSG{i:011d}" for i in range(N_GENES)]
        refused(new, model, "60 of the model's 60 genes.*knows gene symbols, those look like Ensembl ids")
        new.var["symbol"] = symbols
        refused(new, model, r"adata_new.var_names = adata_new.var\['symbol'\]")

    def test_values_that_are_no_numbers(self, model, new):
        new.X = new.X.toarray()
        new.X[7] = np.nan
        refused(new, model, r"NaN .* in 1 of 40 cells; the first: 7 \(cell1_7\)")

    def test_another_pca(self, reference, model, new):
        new.obsm["X_pca"] = components(new, reference).astype(np.float32)
        by_rows = vc.tl.project(new, model, use_rep="X_pca", copy=True).obsm["X_umap"]
        np.testing.assert_allclose(by_rows, vc.tl.project(new, model, copy=True).obsm["X_umap"], atol=1e-4)
        new.varm["PCs"] = reference.varm["PCs"]
        np.testing.assert_array_equal(vc.tl.project(new, model, use_rep="X_pca", copy=True).obsm["X_umap"], by_rows)
        new.varm["PCs"] = reference.varm["PCs"] * np.where(np.arange(N_PCS) == 2, -1, 1)
        refused(new, model, "another PCA than the model's: .*leave out use_rep", use_rep="X_pca")

    def test_another_representation(self, reference, new):
        rng, adata = np.random.default_rng(0), reference.copy()
        adata.obsm["X_scVI"] = rng.normal(size=(150, 4)).astype(np.float32)
        vc.tl.embed(adata, use_rep="X_scVI", n_epochs=2, n_jobs=1)
        model = model_from_adata(adata)
        new.obsm["mine"] = rng.normal(size=(40, 4)).astype(np.float32)
        vc.tl.project(new, model, use_rep="mine", copy=True)
        refused(new, model, "reads 'X_scVI', which this AnnData has not")
        new.obsm["X_scVI"] = new.obsm["mine"][:, :3]
        refused(new, model, "'X_scVI' has 3 columns here; the model was made from 4")
        new.obsm["X_scVI"] = new.obsm["mine"] * 300
        refused(new, model, "another representation than the one the model was made from")

    def test_what_is_not_there(self, model, new):
        refused(new, model, "use_rep='X_pcs' is not in adata_new", use_rep="X_pcs")
        refused(new, model, "use_rep=3 is not allowed; name a key of obsm", use_rep=3)

    @pytest.mark.parametrize("min_overlap", [0, 1.5, -1, "all", True, None, float("nan")])
    def test_overlaps_that_are_none(self, model, new, min_overlap):
        refused(new, model, "min_overlap", min_overlap=min_overlap)


def test_without_genes_the_components_are_read(reference, model, new):
    bare = ad.AnnData(obs=new.obs, obsm={"X_pca": components(new, reference).astype(np.float32)})
    vc.tl.project(bare, model)
    np.testing.assert_allclose(bare.obsm["X_umap"], vc.tl.project(new, model, copy=True).obsm["X_umap"], atol=1e-4)


def test_half_of_pbmc3k_on_the_other(data_dir):
    cells = ad.read_h5ad(data_dir / "pbmc3k.h5ad")
    del cells.obsm
    order = np.random.default_rng(0).permutation(cells.n_obs)
    reference, new = cells[order[:1300]].copy(), cells[order[1300:]].copy()
    for half in (reference, new):
        sc.pp.normalize_total(half, target_sum=1e4)
        sc.pp.log1p(half)
    sc.pp.highly_variable_genes(reference, n_top_genes=2000)
    sc.pp.pca(reference)
    vc.tl.embed(reference, use_rep="X_pca", n_epochs=30)
    by_genes = vc.tl.project(new, reference, copy=True).obsm["X_umap"]
    new.obsm["X_pca"] = components(new, reference).astype(np.float32)
    by_rows = vc.tl.project(new, reference, use_rep="X_pca", copy=True).obsm["X_umap"]
    np.testing.assert_allclose(by_genes, by_rows, atol=1e-4)
    vc.tl.project(reference, reference, key_added="again")
    np.testing.assert_array_equal(reference.obsm["again"], reference.obsm["X_umap"])
