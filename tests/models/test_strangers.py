"""Scores of cells unlike the reference, against their definition, and p-values against chance."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from vicinal.api import ModelError
from vicinal.kernels.ratios import local_ratios
from vicinal.models import strangers
from vicinal.models.strangers import find, learn, p_values, sample, score


def groups(n, n_features=6, seed=0, n_groups=4):
    """Cells of some types; the types are the same for every seed."""
    centers = 4 * np.random.default_rng(7).normal(size=(n_groups, n_features))
    rng = np.random.default_rng(seed)
    return (centers[rng.integers(n_groups, size=n)] + rng.normal(size=(n, n_features))).astype(np.float32)


def nearest(distances, k):
    return np.argsort(distances, kind="stable")[:k]


def naive_score(row, others, k):
    """The mean distance to the k nearest, over the mean of theirs among the others."""
    distances = cdist(row[None], others)[0]
    near = nearest(distances, k)
    theirs = [np.sort(cdist(others[[j]], np.delete(others, j, axis=0))[0])[:k].mean() for j in near]
    return distances[near].mean() / np.mean(theirs)


def naive_whitened(reference, rows):
    """Reference and rows, where near neighbours differ as much in all directions."""
    distances = cdist(reference, reference)
    np.fill_diagonal(distances, np.inf)
    pairs = [reference[j] - reference[i] for i in range(len(reference)) for j in nearest(distances[i], 15)]
    scatter = np.mean([np.outer(d, d) for d in pairs], axis=0) / 2
    shrunken = 0.9 * scatter + 0.1 * np.trace(scatter) / len(scatter) * np.eye(len(scatter))
    values, vectors = np.linalg.eigh(shrunken)
    return reference @ vectors / np.sqrt(values), rows @ vectors / np.sqrt(values)


def test_equals_the_definition():
    reference, rows = groups(120).astype(float), 1.5 * groups(15, seed=1).astype(float)
    by_definition = naive_whitened(reference, rows)
    expected = [naive_score(row, by_definition[0], 24) for row in by_definition[1]]
    known = learn(reference.astype(np.float32), "euclidean", n_jobs=1)
    np.testing.assert_allclose(score(known, rows.astype(np.float32), n_jobs=1), expected, rtol=2e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 30), k=st.integers(1, 8), n_distinct=st.integers(2, 30))
def test_a_reference_cell_is_left_out_as_if_it_were_not_there(seed, n, k, n_distinct):
    rng, k = np.random.default_rng(seed), min(k, n - 3)
    rows = rng.normal(size=(n, 2))[rng.integers(n_distinct, size=n) % n]
    distances = cdist(rows, rows).astype(np.float32)
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k].astype(np.int32)
    ordered = np.sort(distances, axis=1).astype(float)
    own = ordered[:, :k].mean(axis=1), ordered[:, k - 1].copy(), ordered[:, k].copy()
    for function in (local_ratios, local_ratios.py_func):
        ratios = np.empty(n, np.float32)
        near = np.ascontiguousarray(np.take_along_axis(distances, indices.astype(int), axis=1))
        function(indices, near, *own, True, 1e-3, 0, n, ratios)
        for i in range(n):
            rest = np.delete(np.arange(n), i)
            without = np.sort(distances[np.ix_(rest, rest)], axis=1)[:, :k].mean(axis=1, dtype=float)
            theirs = np.mean([without[np.searchsorted(rest, j)] for j in indices[i]])
            np.testing.assert_allclose(ratios[i], near[i].mean() / max(theirs, 1e-3), rtol=1e-4, atol=1e-6)


def test_rows_without_neighbours_are_infinitely_far():
    ratios = np.empty(2, np.float32)
    indices, distances = np.array([[0, -1], [0, 1]], np.int32), np.array([[1, np.inf], [1, 2]], np.float32)
    local_ratios(indices, distances, np.ones(2), np.ones(2), np.ones(2), False, 1e-3, 0, 2, ratios)
    np.testing.assert_array_equal(ratios, [np.inf, 1.5])


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation", "manhattan"])
def test_pure_function_of_the_row(metric, rng):
    known, rows = learn(groups(300), metric, n_jobs=2), groups(1500, seed=1)
    together = score(known, rows, n_jobs=1)
    order = rng.permutation(len(rows))
    np.testing.assert_array_equal(score(known, rows[order], n_jobs=2), together[order])
    np.testing.assert_array_equal(score(known, rows, n_jobs=3), together)
    np.testing.assert_array_equal([score(known, rows[[i]], n_jobs=1)[0] for i in order[:25]], together[order[:25]])


def test_threads_have_no_part_in_what_is_learned():
    one, three = (learn(groups(2500, 9), "euclidean", n_jobs=n) for n in (1, 3))
    np.testing.assert_array_equal(one.known_scores, three.known_scores)
    np.testing.assert_array_equal(*(score(known, groups(50, 9, 1), n_jobs=2) for known in (one, three)))


@pytest.mark.parametrize(("n", "n_features"), [(60, 3), (400, 30), (1500, 6)])
def test_p_values_of_cells_like_the_reference_are_uniform(n, n_features):
    found = []
    for seed in range(8):
        cells = groups(n + 500, n_features, seed)
        found.append(find(learn(cells[:n], "euclidean", n_jobs=2), cells[n:], 0.05, n_jobs=2).p_values)
    # A level p of one reference of n cells is off by a beta distribution of about p (1 - p) / n.
    for level in (0.05, 0.2, 0.5, 0.8):
        deviation = np.sqrt(level * (1 - level) / 8 * (1 / n + 1 / 500))
        assert abs(np.mean(np.concatenate(found) <= level) - level) < 4 * deviation + 0.5 / n


def test_columns_beyond_the_cells_flag_no_more_than_stated():
    flagged = []
    for seed in range(8):
        cells = groups(300, 50, seed)
        flagged.append(find(learn(cells[:100], "euclidean", n_jobs=2), cells[100:], 0.05, n_jobs=2).flags.mean())
    assert np.mean(flagged) < 0.06


def test_p_values_are_ranks_among_the_reference():
    known = learn(groups(99), "euclidean", n_jobs=1)
    lowest, middle, highest = known.known_scores[[0, 49, 98]]
    given = np.array([0, lowest, middle, highest, highest * 1.01, np.inf], np.float32)
    np.testing.assert_allclose(p_values(known, given), [1, 1, 0.51, 0.02, 0.01, 0.01])


def test_a_new_type_is_told_and_a_known_one_is_not():
    known = learn(groups(800), "euclidean", n_jobs=2)
    new = np.concatenate([groups(300, seed=1), np.full((1, 6), 2, np.float32) + groups(300, seed=2, n_groups=1) * 0.5])
    found = find(known, new, 0.05, n_jobs=2)
    assert found.flags[:300].mean() < 0.1
    assert found.flags[300:].mean() > 0.9


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_do_not_matter(scale):
    reference, rows = groups(200), groups(100, seed=1)
    expected = score(learn(reference, "euclidean", n_jobs=1), rows, n_jobs=1)
    factor = np.float32(scale)
    scaled = score(learn(reference * factor, "euclidean", n_jobs=1), rows * factor, n_jobs=1)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4)


def test_directions_alone_count_for_cosine(rng):
    reference, rows = groups(200), groups(50, seed=1)
    known, lengths = learn(reference, "cosine", n_jobs=1), rng.uniform(0.1, 10, size=(50, 1)).astype(np.float32)
    np.testing.assert_allclose(score(known, rows * lengths, n_jobs=1), score(known, rows, n_jobs=1), rtol=1e-3)
    shifted = learn(reference, "correlation", n_jobs=1)
    np.testing.assert_allclose(score(shifted, rows + 3, n_jobs=1), score(shifted, rows, n_jobs=1), rtol=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(20, 60),
    n_features=st.sampled_from([1, 2, 40, strangers.WIDEST + 1]),
    n_distinct=st.integers(1, 60),
    metric=st.sampled_from(["euclidean", "cosine", "correlation"]),
)
def test_any_reference_gives_scores_that_are_numbers(seed, n, n_features, n_distinct, metric):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(n, n_features))[rng.integers(n_distinct, size=n) % n].astype(np.float32)
    known = learn(reference, metric, n_jobs=1)
    rows = np.concatenate([reference[:3], rng.normal(size=(3, n_features)), np.full((1, n_features), 1e30)])
    found = find(known, rows.astype(np.float32), 0.05, n_jobs=1)
    assert not np.isnan(found.scores).any() and (found.scores >= 0).all()
    assert ((found.p_values > 0) & (found.p_values <= 1)).all()


def test_a_sample_is_uniform_sorted_and_the_same_again():
    rows = np.arange(20_000, dtype=np.float32)[:, None]
    kept = sample(rows, 1000)
    np.testing.assert_array_equal(kept, sample(rows, 1000))
    assert len(kept) == 1000 and (np.diff(kept[:, 0]) > 0).all()
    assert abs(kept.mean() - 10_000) < 4 * 5774 / np.sqrt(1000)
    assert sample(rows[:1000], 1000) is not None and len(sample(rows[:999], 1000)) == 999


def test_what_a_network_keeps_is_small_and_checked():
    (rows,) = strangers.kept_of(groups(5000, 50)).values()
    assert rows.dtype == np.float32 and rows.nbytes <= strangers.KEPT_BYTES and len(rows) == strangers.KEPT
    assert strangers.kept_of(np.zeros((5000, 3000), np.float32)) == {}
    strangers.check_kept({strangers.REFERENCE: rows}, 50)
    strangers.check_kept({}, 50)
    for bad in (rows.astype(float), rows[0], rows[:, :49]):
        with pytest.raises(ModelError, match="'strangers_reference' has dtype .* expected float32 rows of 50 columns"):
            strangers.check_kept({strangers.REFERENCE: bad}, 50)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "labels", "least"), [("pbmc3k", "louvain", 0.85), ("worm_l2", "cao_cell_type", 0.83)])
def test_types_left_out_are_told_from_others(data_dir, name, labels, least):
    adata = ad.read_h5ad(data_dir / f"{name}.h5ad")
    rows, kinds = np.asarray(adata.obsm["X_pca"], np.float32), adata.obs[labels].astype(str).to_numpy()
    areas, false = [], []
    for kind in np.unique(kinds):
        others = np.random.default_rng(0).permutation(np.flatnonzero(kinds != kind))
        strange, n_known = rows[kinds == kind], len(others) // 5
        known = learn(rows[others[n_known:]], "euclidean", n_jobs=2)
        found = find(known, np.concatenate([rows[others[:n_known]], strange]), 0.05, n_jobs=2)
        areas.append(roc_auc_score(np.arange(len(found.scores)) >= n_known, found.scores))
        false.append(found.flags[:n_known].mean())
    assert np.mean(areas) > least
    assert np.mean(false) == pytest.approx(0.05, abs=0.015)
