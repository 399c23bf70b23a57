from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError


@pytest.fixture
def adata() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


class TestPlan:
    def test_it_says_what_and_why(self, adata: ad.AnnData) -> None:
        text = str(vc.tl.plan(adata, n_neighbors=30))
        for part in (
            "umap: 700 cells",
            "exact@vicinal",
            "fuzzy@vicinal",
            "spectral@vicinal",
            "numba_sgd@vicinal",
            "X_pca",
        ):
            assert part in text

    def test_it_runs_nothing(self, adata: ad.AnnData) -> None:
        class Never:
            def build(self, request):  # type: ignore[no-untyped-def]
                raise AssertionError("ran")

        plan = vc.tl.plan(adata, knn=Never())
        assert plan.stages["knn"].name == "Never"
        assert "loss" not in adata.uns.get("umap", {})

    def test_as_data_it_is_plain(self, adata: ad.AnnData) -> None:
        import json

        data = json.loads(json.dumps(vc.tl.plan(adata, n_neighbors=10, min_dist=0.2).to_dict()))
        assert data["stages"]["objective"]["params"]["min_dist"] == 0.2


class TestScore:
    def test_scores_are_returned_and_stored(self, adata: ad.AnnData) -> None:
        adata.uns["umap"] = {"params": {"a": 1.0, "b": 1.0}}
        scores = vc.tl.score(adata, labels="bulk_labels")
        assert adata.uns["umap"]["score"] == scores
        assert set(scores) == {
            "knn_recall_15",
            "knn_recall_50",
            "trustworthiness",
            "global_correlation",
            "label_accuracy",
        }
        assert all(0 <= value <= 1 for value in scores.values())
        assert "a" in adata.uns["umap"]["params"]

    def test_a_perfect_map_and_a_shuffled_one(self, rng: np.random.Generator) -> None:
        adata = ad.AnnData(np.zeros((400, 1), dtype=np.float32))
        adata.obsm["X_flat"] = rng.normal(size=(400, 2)).astype(np.float32)
        adata.obsm["X_same"] = adata.obsm["X_flat"] * 3 + 1
        adata.obsm["X_shuffled"] = rng.permutation(adata.obsm["X_flat"])
        same = vc.tl.score(adata, "X_same", use_rep="X_flat")
        shuffled = vc.tl.score(adata, "X_shuffled", use_rep="X_flat")
        assert same["knn_recall_15"] == pytest.approx(1) and same["trustworthiness"] == pytest.approx(1)
        assert shuffled["knn_recall_15"] < 0.1 and abs(shuffled["global_correlation"]) < 0.1

    def test_another_representation_is_used_whole(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, n_pcs=40, n_epochs=10)
        adata.obsm["X_few"] = adata.obsm["X_pca"][:, :7].copy()
        few = vc.tl.score(adata, use_rep="X_few")
        assert few == vc.tl.score(adata, n_pcs=7) != vc.tl.score(adata)

    def test_the_scores_of_embed_are_those_of_score(self, rng: np.random.Generator) -> None:
        adata = ad.AnnData(rng.normal(size=(1500, 5)).astype(np.float32))
        vc.tl.embed(adata, n_epochs=20)
        made = adata.uns["umap"]["score"]
        assert made == {name: value for name, value in vc.tl.score(adata).items() if name in made}

    def test_seeded(self, adata: ad.AnnData) -> None:
        one, again = (vc.tl.score(adata, n_sample=100, random_state=3) for _ in range(2))
        assert one == again != vc.tl.score(adata, n_sample=100, random_state=4)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"basis": "X_tsne"}, "basis='X_tsne' is not in adata.obsm"),
            ({"labels": "bulk_label"}, "labels='bulk_label'.*Did you mean 'bulk_labels'"),
            ({"use_rep": "nope"}, "use_rep='nope'"),
            ({"labels": ["bulk_labels"]}, "labels=.*Did you mean 'bulk_labels'"),
            ({"n_sample": 0}, "n_sample=0"),
            ({"n_sample": True}, "n_sample=True"),
            ({"n_jobs": 0}, "n_jobs=0"),
            ({"n_jobs": "2"}, "n_jobs='2'"),
            ({"random_state": "None"}, "random_state='None'"),
        ],
    )
    def test_bad_input(self, adata: ad.AnnData, kwargs: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            vc.tl.score(adata, **kwargs)
        assert "umap" not in adata.uns
