"""What a model of a PCA carries: matching of genes, what is told from values, fingerprints, the record in the file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.api import InputError, ModelError
from vicinal.models import fingerprint, load
from vicinal.models.genes import ARRAYS, GeneChain
from vicinal.models.match import match_genes
from vicinal.models.preprocessing import check_preprocessing, normalised_total, values_seen
from vicinal.models.store import Model, describe, with_genes

N_GENES, N_COMPONENTS = 12, 5
SAW = {
    "slot": "X",
    "log1p": {"base": None},
    "target_sum": 1e4,
    "values": {"integers": False, "min": 0.0, "max": 6.0},
    "pca": {"zero_center": True},
    "checked": {"n_cells": 16, "error": 1e-7},
}


def make_chain(seed=0, n_genes=N_GENES, n_components=N_COMPONENTS):
    rng = np.random.default_rng(seed)
    return GeneChain(
        names=tuple(f"gene{i}" for i in range(n_genes)),
        loadings=np.linalg.qr(rng.normal(size=(n_genes, n_components)))[0].astype(np.float32),
        mean=rng.gamma(1.0, size=n_genes).astype(np.float32),
        offset=rng.normal(size=n_components).astype(np.float32),
        saw=SAW,
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 9), st.floats(0.1, 1.0))
def test_components_are_the_formula_with_missing_genes_at_their_means(seed, n_genes, n_components, share):
    n_components = min(n_components, n_genes)
    chain, rng = make_chain(seed, n_genes, n_components), np.random.default_rng(seed)
    present = np.flatnonzero(rng.random(n_genes) < share)
    rows = np.where(rng.random((7, n_genes)) < 0.5, rng.gamma(1.0, size=(7, n_genes)), 0).astype(np.float32)
    full = np.tile(chain.mean.astype(float), (7, 1))
    full[:, present] = rows[:, present]
    expected = (full - chain.mean) @ chain.loadings.astype(float) + chain.offset
    made = chain.components(rows[:, present], present)
    np.testing.assert_allclose(made, expected, atol=1e-4)
    one_by_one = [chain.components(rows[[i]][:, present], present, 3) for i in range(7)]
    np.testing.assert_array_equal(np.vstack(one_by_one), made)


class TestMatch:
    """Genes by name."""

    wanted = ("A", "B", "C", "D")
    weights = (0.4, 0.3, 0.2, 0.1)

    def test_any_order_and_further_genes(self):
        match = match_genes(self.wanted, ["x", "D", "B", "A", "C"], self.weights, 1.0)
        np.testing.assert_array_equal(match.present, [0, 1, 2, 3])
        np.testing.assert_array_equal(match.columns, [3, 2, 4, 1])

    def test_what_counts_is_the_share_of_the_loadings(self):
        assert list(match_genes(self.wanted, ["C", "A", "B"], self.weights, 0.9).present) == [0, 1, 2]
        says = "1 of the model's 4 genes are not in var_names: 'A'. The others make up 60% .* like 'B', 'C'"
        with pytest.raises(InputError, match=says):
            match_genes(self.wanted, ["B", "C", "D"], self.weights, 0.9)
        assert list(match_genes(self.wanted, ["B", "C", "D"], self.weights, 0.5).present) == [1, 2, 3]

    def test_nothing_shared_is_never_enough(self):
        with pytest.raises(InputError, match="4 of the model's 4 genes"):
            match_genes(self.wanted, ["x"], self.weights, 1e-9)

    def test_a_name_of_several_columns(self):
        with pytest.raises(InputError, match="1 feature names stand for several columns: 'B'"):
            match_genes(self.wanted, ["A", "B", "B", "C", "D"], self.weights, 0.9)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda i: f"GENE{i}", "differ only in upper and lower case"),
            (lambda i: f"Gene{i}.2", ""),
            (lambda i: f" gene{i}", "differ only in spaces"),
            (lambda i: f"gene{i}.11", "differ only in version suffixes"),
            (lambda i: f"ENSG{i:011d}", "The model knows gene symbols, those look like Ensembl ids"),
        ],
    )
    def test_hints(self, change, says):
        wanted = [f"gene{i}" for i in range(20)]
        with pytest.raises(InputError) as caught:
            match_genes(wanted, [change(i) for i in range(20)], np.full(20, 0.05), 0.9)
        assert says in str(caught.value)
        assert ("differ only" in str(caught.value)) == ("differ only" in says)

    def test_ids_wanted_and_symbols_given(self):
        wanted = [f"ENSMUSG{i:011d}.3" for i in range(20)]
        with pytest.raises(InputError, match="knows Ensembl ids, those look like gene symbols"):
            match_genes(wanted, ["Actb", "Gapdh"], np.full(20, 0.05), 0.9)

    def test_a_column_of_var_that_has_them(self):
        with pytest.raises(InputError, match=r"adata_new.var_names = adata_new.var\['symbol'\]"):
            match_genes(self.wanted, ["1", "2", "3", "4"], self.weights, 0.9, others={"symbol": self.wanted})


def counts(n=30, n_genes=80, seed=0):
    return np.random.default_rng(seed).negative_binomial(1, 0.4, size=(n, n_genes)).astype(float)


def treated(values, target=1e4, base=None):
    logs = np.log1p(values / values.sum(axis=1, keepdims=True) * target)
    return logs if base is None else logs / np.log(base)


def saw(rows, log1p=None):
    return {"log1p": log1p, "target_sum": normalised_total(rows, log1p), "values": values_seen(rows)}


def scaled(rows):
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


LOG = {"base": None}
KINDS = {
    "logs": (treated(counts()), LOG),
    "logs to 2": (treated(counts(), base=2), {"base": 2.0}),
    "logs of millions": (treated(counts(), 1e6), LOG),
    "no logs": (np.expm1(treated(counts())), None),
    "counts": (counts(), None),
    "scaled": (scaled(treated(counts())), LOG),
}


class TestPreprocessing:
    """What 64 rows show of how genes were treated."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("recorded", [True, False])
    def test_the_same_treatment_passes_whole_and_row_by_row(self, kind, recorded):
        rows, log1p = KINDS[kind]
        known = saw(rows, log1p)
        check_preprocessing(known, rows, log1p if recorded else None, ".X", "")
        for row in rows:
            check_preprocessing(known, row[None], log1p if recorded else None, ".X", "")

    @pytest.mark.parametrize(
        ("was", "is_now", "says"),
        [
            (
                "logs",
                "counts",
                r"whole numbers, as counts.*normalize_total\(adata_new, target_sum=10000\); sc",
            ),
            ("logs", "no logs", "which no logarithm of a count does.*sc.pp.log1p"),
            ("logs", "scaled", "some are below 0, as after sc.pp.scale"),
            (
                "logs",
                "logs to 2",
                r"logarithms to base 2.0, the model was made from those to base e.*log1p\(adata_new\)",
            ),
            ("logs to 2", "logs", r"to base e, the model was made from those to base 2.0.*log1p\(adata_new, base=2\)"),
            ("logs", "logs of millions", "normalised to 1,000,000, those of the model to 10,000"),
            ("counts", "logs", "no whole numbers, but the model was made from counts; give the counts"),
            ("no logs", "logs", "they are logarithms, but the model was made from values without"),
            ("no logs", "counts", "not made from counts"),
            ("scaled", "logs", r"none is below 0, but the model was made from scaled values.*adata.var\['mean'\]"),
            ("scaled", "counts", "not made from counts"),
        ],
    )
    def test_another_treatment_is_refused_with_what_to_do(self, was, is_now, says):
        with pytest.raises(InputError, match=f"^the genes in .X: .*{says}"):
            check_preprocessing(saw(*KINDS[was]), *KINDS[is_now], ".X", "")

    def test_too_few_values_say_nothing(self):
        check_preprocessing(saw(*KINDS["logs"]), np.eye(9), None, ".X", "")
        check_preprocessing(saw(*KINDS["logs"]), np.zeros((64, 500)), None, ".X", "")

    def test_the_total_is_found_and_only_where_there_is_one(self):
        assert normalised_total(treated(counts()), LOG) == 1e4
        assert normalised_total(treated(counts(), base=2), {"base": 2.0}) == 1e4
        assert normalised_total(treated(counts())[:, :70], LOG) is None
        assert normalised_total(treated(counts()), None) is None
        assert normalised_total(treated(counts())[:4], LOG) is None


class TestFingerprint:
    """Another representation of the same width."""

    rows = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32) * np.arange(1, 9, dtype=np.float32)

    def record(self, rows):
        return {"name": "X_scVI", "fingerprint": fingerprint.fingerprint_of(rows)}

    def test_is_mean_and_deviation(self):
        known = fingerprint.fingerprint_of(self.rows)
        np.testing.assert_allclose(known["mean"], self.rows.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(known["std"], self.rows.std(axis=0), rtol=1e-4)

    @pytest.mark.parametrize("change", [lambda x: x * 100, lambda x: x + 300, lambda x: -500 - x])
    def test_far_away_is_refused(self, change):
        with pytest.raises(InputError, match="'mine' is another representation than .* standard deviations"):
            fingerprint.check_fingerprint(change(self.rows), self.record(self.rows), "mine")

    def test_some_odd_cells_or_columns_are_not(self):
        odd = self.rows.copy()
        odd[:90] += 1e4
        odd[:, :3] = 1e6
        fingerprint.check_fingerprint(odd[80:], self.record(self.rows), "mine")
        for row in self.rows:
            fingerprint.check_fingerprint(row[None], self.record(self.rows), "mine")

    def test_constant_columns_say_nothing(self):
        flat = np.where(np.arange(8) < 6, 1, self.rows).astype(np.float32)
        fingerprint.check_fingerprint(self.rows, self.record(flat), "mine")
        fingerprint.check_fingerprint(self.rows, self.record(np.ones_like(self.rows)), "mine")

    @pytest.mark.parametrize("name", ["kang_pbmc_stim_2k", "pbmc3k"])
    def test_no_false_alarm_on_other_conditions_types_and_single_cells(self, data_dir, name):
        ad = pytest.importorskip("anndata")
        cells = ad.read_h5ad(data_dir / f"{name}.h5ad")
        groups = cells.obs["condition" if "kang" in name else "louvain"]
        for group in groups.unique():
            mine = cells.obsm["X_pca"][(groups == group).to_numpy()]
            known = self.record(cells.obsm["X_pca"][(groups != group).to_numpy()])
            fingerprint.check_fingerprint(mine, known, "X_pca")
            for row in mine[:200]:
                fingerprint.check_fingerprint(row[None], known, "X_pca")

    @pytest.mark.parametrize("broken", [3, {"mean": [0.0]}, {"mean": [0.0], "std": [1.0]}, {"mean": "ab", "std": "cd"}])
    def test_a_broken_one_is_named(self, broken):
        with pytest.raises(ModelError, match="fingerprint"):
            fingerprint.check_fingerprint(self.rows, {"fingerprint": broken}, "mine")


class TestInTheFile:
    """Beside the landmarks, in the same zip."""

    def test_comes_back_equal(self, make_model, tmp_path):
        chain = make_chain()
        with_genes(make_model(), chain).save(tmp_path / "a")
        back = load(tmp_path / "a")
        assert back.genes.names == chain.names
        assert back.genes.saw == SAW
        for name in ("loadings", "mean", "offset"):
            np.testing.assert_array_equal(getattr(back.genes, name), getattr(chain, name))
        assert back.n_landmarks == make_model().n_landmarks
        back.save(tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_a_reason_comes_back(self, make_model, tmp_path):
        with_genes(make_model(), "it was scaled").save(tmp_path / "a")
        back = load(tmp_path / "a")
        assert back.genes is None
        assert back.manifest.extra["genes"] == {"absent": "it was scaled"}

    def test_models_without_either_stay_as_they_are(self, make_model):
        model = make_model()
        assert with_genes(model, None) is model
        assert model.genes is None

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda arrays, record: arrays.pop("genes_mean"),
                "it needs 'genes_loadings', 'genes_mean'",
            ),
            (lambda arrays, record: arrays.update(genes_mean=arrays["genes_mean"][1:]), "'genes_mean' has dtype"),
            (lambda arrays, record: arrays.update(genes_mean=arrays["genes_mean"].astype(float)), "expected float32"),
            (lambda arrays, record: arrays["genes_offset"].fill(np.nan), "'genes_offset' holds 5 values that are NaN"),
            (lambda arrays, record: record.pop("names"), "names no genes"),
            (lambda arrays, record: record.update(names=[1] * N_GENES), "names no genes"),
            (lambda arrays, record: record.update(names=["a"] * N_GENES), "names some genes twice"),
            (lambda arrays, record: record.update(log1p="yes"), "'log1p'"),
            (lambda arrays, record: record.update(log1p={"base": 0.5}), "base 0.5"),
            (lambda arrays, record: record.update(values={"min": 0}), "'values'"),
            (lambda arrays, record: record.pop("slot"), "'slot'"),
        ],
    )
    def test_half_a_chain_is_refused(self, make_model, change, says):
        model = with_genes(make_model(), make_chain())
        arrays = {name: array.copy() for name, array in model.arrays.items()}
        record = dict(model.manifest.extra["genes"])
        change(arrays, record)
        manifest = dataclasses.replace(model.manifest, arrays=describe(arrays), extra={"genes": record})
        with pytest.raises(ModelError, match=says):
            Model(manifest, arrays)

    def test_what_is_no_record(self, make_model):
        model = make_model()
        with pytest.raises(ModelError, match="'genes' is a list, expected an object"):
            Model(dataclasses.replace(model.manifest, extra={"genes": []}), model.arrays)

    def test_names_of_arrays_are_kept_apart_from_the_landmarks(self, make_model):
        assert set(with_genes(make_model(), make_chain()).arrays) == {"reference", "layout", *ARRAYS}
