from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import eigh
from scipy.stats import spearmanr

from vicinal.api import Graph, InitRequest, InputError, NoParams, generator
from vicinal.backends.init import array, obsm, paga, pca, random, spectral
from vicinal.backends.init.arrangement import pushed_apart, spiral
from vicinal.backends.init.linear_algebra import with_fixed_signs
from vicinal.backends.init.spectral import slowest_modes


def place(module, graph, *, n_components=2, **fields):
    request = InitRequest(graph=graph, n_components=n_components, **fields)
    layout = module.Backend(NoParams()).place(request)
    assert layout.dtype == np.float32 and layout.shape == (graph.n_obs, n_components) and layout.flags.c_contiguous
    assert np.isfinite(layout).all()
    return layout


def as_graph(matrix, *, directed=False):
    return Graph.from_scipy(sparse.csr_matrix(matrix), directed=directed)


def no_edges(n):
    return as_graph(sparse.csr_matrix((n, n)))


def path(n):
    return sparse.diags([np.ones(n - 1), np.ones(n - 1)], [-1, 1], shape=(n, n)).tocsr()


def star(n):
    spokes = sparse.csr_matrix((np.ones(n - 1), (np.zeros(n - 1, int), np.arange(1, n))), shape=(n, n))
    return spokes + spokes.T


def clique(n):
    return np.ones((n, n)) - np.eye(n)


def blocks(*matrices):
    return sparse.block_diag(matrices, format="csr")


def grid(rows, columns):
    return sparse.csr_matrix(sparse.kronsum(path(columns), path(rows)))


def laplacian_eigenvectors(matrix, k):
    """Solutions of L y = lambda D y by scipy's dense generalised solver, without the constant one."""
    dense = sparse.csr_matrix(matrix).toarray()
    degrees = np.diag(dense.sum(axis=1))
    return eigh(degrees - dense, degrees)[1][:, 1 : k + 1]


def largest_angle(one, other):
    """Degrees between the subspaces that the columns span."""
    cosines = np.linalg.svd(np.linalg.qr(one)[0].T @ np.linalg.qr(other)[0], compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines.min(), -1, 1)))


class TestRandom:
    def test_is_uniform_and_keyed_by_the_seed(self):
        layout = place(random, no_edges(4000), seed=1)
        assert layout.min() < -0.99 and layout.max() > 0.99
        assert np.abs(np.quantile(layout, [0.25, 0.5, 0.75], axis=0).T - [-0.5, 0, 0.5]).max() < 0.05
        assert abs(np.corrcoef(layout.T)[0, 1]) < 0.06
        np.testing.assert_array_equal(layout, place(random, no_edges(4000), seed=1))
        assert not np.array_equal(layout, place(random, no_edges(4000), seed=2))


class TestPca:
    @pytest.mark.parametrize(("n", "p"), [(300, 8), (20, 300), (30, 2500), (2100, 3)])
    def test_equals_the_singular_value_decomposition(self, n, p, rng):
        rows = (rng.normal(size=(n, p)) * np.geomspace(10, 1, p) + 50).astype(np.float32)
        layout = place(pca, no_edges(n), representation=rows)
        centered = rows - rows.mean(axis=0, dtype=np.float64)
        u, s, _ = np.linalg.svd(centered, full_matrices=False)
        expected = u[:, :2] * s[:2]
        expected *= np.sign((expected * layout).sum(axis=0)) / np.abs(expected).max()
        np.testing.assert_allclose(layout, expected, atol=2e-4)

    def test_directions_of_wide_data_come_from_a_sample_of_the_rows(self, rng):
        scores = rng.normal(size=(2500, 2)) * [10, 4]
        rows = (scores @ rng.normal(size=(2, 2200)) + 0.1 * rng.normal(size=(2500, 2200))).astype(np.float32)
        layout = place(pca, no_edges(2500), representation=rows)
        assert largest_angle(layout - layout.mean(axis=0), scores - scores.mean(axis=0)) < 1

    def test_signs_do_not_depend_on_the_data_turned_round(self, rng):
        rows = rng.normal(size=(50, 4)).astype(np.float32) * np.float32([4, 3, 2, 1])
        layout = place(pca, no_edges(50), representation=rows)
        np.testing.assert_allclose(place(pca, no_edges(50), representation=-rows), -layout, atol=1e-5)

    @pytest.mark.parametrize("n", [1, 2, 3, 40])
    @pytest.mark.parametrize("p", [1, 2])
    def test_missing_components_are_small_noise(self, n, p, rng):
        rows = rng.normal(size=(n, p)).astype(np.float32)
        layout = place(pca, no_edges(n), n_components=4, representation=rows)
        real = min(p, n - 1)
        if real:
            extent = np.ptp(layout, axis=0)
            assert (extent[real:] > 0).all() and extent[real:].max() < 0.15 * extent[0]
        other_seed = place(pca, no_edges(n), n_components=4, representation=rows, seed=9)
        np.testing.assert_array_equal(layout[:, :real], other_seed[:, :real])
        assert not np.array_equal(layout[:, real:], other_seed[:, real:])

    @pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e37])
    def test_any_scale_gives_the_same_layout(self, scale, rng):
        rows = rng.normal(size=(60, 5)).astype(np.float32) * np.float32([5, 4, 3, 2, 1])
        expected = place(pca, no_edges(60), representation=rows)
        layout = place(pca, no_edges(60), representation=rows * np.float32(scale))
        np.testing.assert_allclose(layout, expected, atol=1e-5)

    def test_constant_columns_do_not_matter(self, rng):
        rows = rng.normal(size=(60, 3)).astype(np.float32)
        padded = np.hstack([np.full((60, 2), 7, dtype=np.float32), rows])
        np.testing.assert_allclose(
            place(pca, no_edges(60), representation=padded), place(pca, no_edges(60), representation=rows), atol=1e-5
        )

    def test_rows_without_variance_are_noise(self):
        layout = place(pca, no_edges(50), representation=np.full((50, 3), 2, dtype=np.float32))
        assert (layout.std(axis=0) > 0).all()


class TestSpectral:
    @pytest.mark.parametrize(
        "matrix",
        [path(200), grid(12, 40), blocks(clique(30)) + 0.1 * path(30), grid(30, 40)],
        ids=["path", "grid", "clique and path", "large grid"],
    )
    def test_equals_the_laplacians_eigenvectors(self, matrix):
        expected = laplacian_eigenvectors(matrix, 2)
        assert largest_angle(slowest_modes(sparse.csr_matrix(matrix), 2), expected) < 0.1
        layout = place(spectral, as_graph(matrix)).astype(np.float64)
        assert largest_angle(layout - layout.mean(axis=0), expected - expected.mean(axis=0)) < 0.1

    def test_weights_matter(self):
        weak_middle = path(100).tolil()
        weak_middle[49, 50] = weak_middle[50, 49] = 1e-3
        layout = place(spectral, as_graph(weak_middle), n_components=1)[:, 0]
        assert abs(layout[49] - layout[50]) > 0.8 * np.ptp(layout)

    def test_two_parts_joined_by_one_edge_are_told_apart(self):
        """The slowest mode is then nearly as slow as the trivial one; both dense and iterative solvers must see it."""
        for half in (200, 800):
            joined = blocks(clique(half), clique(half)).tolil()
            joined[0, half] = joined[half, 0] = 1
            layout = place(spectral, as_graph(joined))
            gaps = np.abs(layout[:half].mean(axis=0) - layout[half:].mean(axis=0)) / np.ptp(layout, axis=0)
            assert gaps.max() > 0.7

    @pytest.mark.parametrize("n", [300, 1500])
    def test_a_path_is_laid_out_in_order(self, n):
        steps = np.diff(place(spectral, as_graph(path(n)), n_components=1)[:, 0])
        assert (steps > 0).all() or (steps < 0).all()

    def test_a_component_whose_modes_are_not_found_falls_back_and_says_so(self, caplog, rng, monkeypatch):
        monkeypatch.setattr(spectral, "slowest_modes", lambda *_: None)
        graph = as_graph(path(5000))
        with caplog.at_level(logging.WARNING, logger="vicinal"):
            scattered = place(spectral, graph)
        assert "5000 cells starts from random positions" in caplog.text
        assert np.ptp(scattered, axis=0).min() > 0.9 * np.ptp(scattered, axis=0).max()
        caplog.clear()
        along = np.linspace(0, 1, 5000)[:, None] * rng.normal(size=(1, 6))
        with caplog.at_level(logging.WARNING, logger="vicinal"):
            layout = place(spectral, graph, representation=along.astype(np.float32))
        assert "5000 cells starts from its principal components" in caplog.text
        assert abs(spearmanr(layout[:, 0], np.arange(5000))[0]) > 0.99

    def test_what_converges_is_not_talked_about(self, caplog):
        with caplog.at_level(logging.DEBUG, logger="vicinal"):
            place(spectral, as_graph(blocks(grid(40, 40), path(30), clique(4), sparse.csr_matrix((3, 3)))))
        assert not caplog.text

    def test_a_directed_graph_counts_both_ways(self):
        matrix = grid(10, 15)
        directed = as_graph(sparse.triu(matrix), directed=True)
        np.testing.assert_allclose(place(spectral, directed), place(spectral, as_graph(matrix)), atol=1e-4)

    def test_weights_of_zero_join_nothing(self):
        matrix = blocks(clique(20), clique(20)).tolil()
        matrix[0, 20] = matrix[20, 0] = 1
        graph = as_graph(matrix)
        weights = graph.weights.copy()
        weights[(graph.indices == 20) & (np.arange(len(weights)) < graph.indptr[1])] = 0
        weights[(graph.indices == 0) & (np.arange(len(weights)) >= graph.indptr[20])] = 0
        cut = Graph(indptr=graph.indptr, indices=graph.indices, weights=weights)
        parted = as_graph(blocks(clique(20), clique(20)))
        np.testing.assert_array_equal(place(spectral, cut), place(spectral, parted))

    def test_same_bits_again_where_all_modes_are_alike(self):
        graph = as_graph(star(3000))
        np.testing.assert_array_equal(place(spectral, graph), place(spectral, graph))

    def test_the_solvers_bits_do_not_depend_on_blas_threads(self):
        threadpoolctl = pytest.importorskip("threadpoolctl")
        graph, rows = as_graph(grid(120, 100)), np.random.default_rng(0).normal(size=(12_000, 60)).astype(np.float32)
        layouts = []
        for n_threads in (1, 2):
            with threadpoolctl.threadpool_limits(n_threads, user_api="blas"):
                layouts.append((place(spectral, graph), place(pca, graph, representation=rows)))
        np.testing.assert_array_equal(*(np.hstack(both) for both in layouts))

    @pytest.mark.parametrize("n_components", [1, 2, 3])
    @pytest.mark.parametrize(
        "make",
        [no_edges, lambda n: as_graph(path(n)), lambda n: as_graph(clique(n)), lambda n: as_graph(star(n))],
        ids=["no edges", "path", "clique", "star"],
    )
    def test_few_cells(self, make, n_components, rng):
        for n in range(1, 41):
            for rows in (None, rng.normal(size=(n, 3)).astype(np.float32)):
                layout = place(spectral, make(n), n_components=n_components, representation=rows)
                assert n == 1 or np.ptp(layout, axis=0).max() > 0

    @settings(deadline=None, max_examples=40)
    @given(
        n=st.integers(1, 60),
        density=st.floats(0, 0.3),
        power=st.integers(0, 20),
        seed=st.integers(0, 99),
        rows=st.booleans(),
    )
    def test_any_graph_is_finite(self, n, density, power, seed, rows):
        rng = np.random.default_rng(seed)
        matrix = sparse.random(n, n, density, random_state=rng)
        matrix.data = matrix.data**power
        values = rng.integers(0, 3, size=(n, 2)).astype(np.float32) if rows else None
        place(spectral, as_graph(matrix, directed=True), n_components=1 + seed % 4, representation=values)


class TestComponents:
    def layout_of(self, sizes, rows=None, n_components=2):
        graph = as_graph(blocks(*(grid(1, size) if size > 1 else [[0.0]] for size in sizes)))
        labels = np.repeat(np.arange(len(sizes)), sizes)
        # Cells of a component need not be neighbours in the table.
        shuffle = np.random.default_rng(5).permutation(len(labels))
        shuffled = graph.to_scipy()[shuffle][:, shuffle]
        rows = None if rows is None else rows[labels][shuffle]
        layout = np.empty((len(labels), n_components), dtype=np.float32)
        layout[shuffle] = place(spectral, as_graph(shuffled), representation=rows, n_components=n_components)
        return layout, labels

    @pytest.mark.parametrize("n_components", [1, 2, 3])
    @pytest.mark.parametrize("with_rows", [False, True])
    def test_sides_go_with_the_square_root_of_sizes(self, n_components, with_rows, rng):
        sizes = [400, 100, 25, 9]
        rows = rng.normal(size=(4, 5)).astype(np.float32) if with_rows else None
        layout, labels = self.layout_of(sizes, rows, n_components)
        sides = [np.ptp(layout[labels == c], axis=0).max() for c in range(4)]
        np.testing.assert_allclose(sides, np.sqrt(sizes), rtol=1e-4)

    @pytest.mark.parametrize("n_components", [1, 2, 3])
    @pytest.mark.parametrize("with_rows", [False, True])
    @pytest.mark.parametrize("sizes", [[300, 300], [900, 5, 5, 1, 1], [50] * 30], ids=str)
    def test_boxes_hardly_overlap(self, sizes, with_rows, n_components, rng):
        rows = rng.normal(size=(len(sizes), 5)).astype(np.float32) if with_rows else None
        layout, labels = self.layout_of(sizes, rows, n_components)
        centers = np.array([(layout[labels == c].min(0) + layout[labels == c].max(0)) / 2 for c in range(len(sizes))])
        sides = np.sqrt(sizes) * (np.array(sizes) > 1)
        reach = (sides[:, None] + sides[None, :]) / 2
        # Boxes are apart if they are so along one axis.
        overlap = (reach - np.abs(centers[:, None, :] - centers[None, :, :]).max(axis=2)) / np.sqrt(max(sizes))
        np.fill_diagonal(overlap, 0)
        assert overlap.max() < 0.25

    def test_components_lie_as_their_cells_do(self):
        rows = np.array([[0, 0], [10, 0], [20, 1], [31, 0]], dtype=np.float32)
        layout, labels = self.layout_of([60, 60, 60, 60], rows)
        centers = np.array([layout[labels == c].mean(axis=0) for c in range(4)])
        along = centers[:, 0] * np.sign(centers[3, 0] - centers[0, 0])
        assert (np.diff(along) > 0).all()

    @pytest.mark.parametrize("with_rows", [False, True])
    @pytest.mark.parametrize(
        "graph",
        [as_graph(blocks(*[clique(8)] * 500)), no_edges(20_000), as_graph(blocks(star(3000), *[clique(2)] * 600))],
        ids=["500 components", "all isolated", "one large and many pairs"],
    )
    def test_many_components(self, graph, with_rows, rng):
        rows = rng.normal(size=(graph.n_obs, 6)).astype(np.float32) if with_rows else None
        for n_components in (1, 2, 3):
            layout = place(spectral, graph, n_components=n_components, representation=rows)
            assert len(np.unique(layout.round(4), axis=0)) > 0.1 * graph.n_obs

    def test_coincident_components_are_parted(self):
        rows = np.zeros((12, 3), dtype=np.float32)
        layout, labels = self.layout_of([40] * 12, rows)
        centers = np.array([layout[labels == c].mean(axis=0) for c in range(12)])
        distance = np.linalg.norm(centers[:, None] - centers[None], axis=2) + 99 * np.eye(12)
        assert distance.min() > 0.5 * np.sqrt(40)


def test_spiral_puts_the_largest_disc_in_the_middle():
    radii = np.array([1.0, 5.0, 2.0])
    centers = spiral(radii, 2)
    np.testing.assert_array_equal(centers[1], 0)
    assert np.linalg.norm(centers[2]) == pytest.approx(5 + 2) and np.linalg.norm(centers[0]) > 5


def test_pushing_moves_the_smaller_disc_further():
    radii = np.array([10.0, 1.0, 1.0])
    start = np.array([[0.0, 0.0], [0.5, 0.0], [-1.0, 0.0]])
    moved = pushed_apart(start, radii, generator(0))
    assert np.linalg.norm(moved[1] - moved[0]) > 8 and np.linalg.norm(moved[2] - moved[0]) > 8
    assert np.linalg.norm(moved[0]) < 3


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_signs_are_fixed(n, k, seed):
    vectors = np.random.default_rng(seed).normal(size=(n, k))
    fixed = with_fixed_signs(vectors)
    np.testing.assert_array_equal(np.abs(fixed), np.abs(vectors))
    np.testing.assert_array_equal(with_fixed_signs(-vectors), fixed)


def test_signs_of_an_odd_vector_do_not_hang_on_its_last_bit():
    vector = np.array([[-1.0], [-0.2], [0.2], [1.0]])
    for nudge in (1 - 1e-15, 1 + 1e-15):
        assert with_fixed_signs(vector * [[1], [1], [1], [nudge]])[0, 0] > 0


class TestPaga:
    positions = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 20.0]])

    def place(self, groups, positions=None, **fields):
        arrays = {"paga_positions": self.positions if positions is None else positions, "paga_groups": np.array(groups)}
        return place(paga, no_edges(len(groups)), arrays=arrays, **fields)

    def test_cells_lie_around_their_group(self):
        groups = np.repeat([0, 1, 2], 400)
        layout = self.place(groups)
        for group, half_width in enumerate([1, 1, 5]):  # a quarter of the way to the nearest other group
            offsets = layout[groups == group] - self.positions[group]
            assert np.abs(offsets).max() <= half_width * (1 + 1e-6)
            assert np.abs(offsets).max(axis=0).min() > 0.9 * half_width
            assert np.abs(offsets.mean(axis=0)).max() < 0.15 * half_width

    def test_cells_of_no_group_lie_anywhere_among_them(self):
        layout = self.place([-1] * 500)
        assert np.abs(layout - [2, 10]).max() <= 10 and np.ptp(layout, axis=0).min() > 18

    def test_the_seed_matters(self):
        np.testing.assert_array_equal(self.place([0, 1], seed=3), self.place([0, 1], seed=3))
        assert not np.array_equal(self.place([0, 1], seed=3), self.place([0, 1], seed=4))

    @pytest.mark.parametrize("positions", [np.zeros((1, 2)), np.zeros((3, 2)), np.array([[1.0, 1], [1, 1], [2, 2]])])
    def test_coincident_groups(self, positions):
        assert np.ptp(self.place([0] * 50, positions), axis=0).min() > 0

    @pytest.mark.parametrize(
        ("groups", "positions", "fields", "message"),
        [
            ([0, 1], None, {"n_components": 3}, "n_components=3 is not allowed"),
            ([0, 3], None, {}, "codes from 0 to 3; allowed are 0 to 2"),
            ([0, -2], None, {}, "codes from -2 to 0"),
            ([0.5, 1], None, {}, "dtype float64"),
            ([0, 1], np.zeros((3, 3)), {}, r"shape \(3, 3\)"),
            ([0, 1], np.full((3, 2), np.nan), {}, "expected finite numbers"),
            ([0, 1], np.zeros((0, 2)), {}, r"shape \(0, 2\)"),
        ],
    )
    def test_bad_input(self, groups, positions, fields, message):
        with pytest.raises(InputError, match=message):
            self.place(groups, positions, **fields)

    def test_groups_of_other_cells(self):
        arrays = {"paga_positions": self.positions, "paga_groups": np.array([0, 1])}
        with pytest.raises(InputError, match="expected 3 integer codes"):
            place(paga, no_edges(3), arrays=arrays)


class TestGivenPositions:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_are_used_as_they_are(self, dtype, order, rng):
        positions = np.array(100 * rng.normal(size=(9, 2)), dtype=dtype, order=order)
        before = positions.copy()
        layout = place(array, no_edges(9), arrays={"positions": positions})
        np.testing.assert_array_equal(layout, positions.astype(np.float32))
        layout[:] = 0
        np.testing.assert_array_equal(positions, before)

    def test_obsm_and_array_are_one(self):
        assert obsm.SPEC.target == array.SPEC.target
        assert obsm.SPEC.capabilities == array.SPEC.capabilities
        assert array.SPEC.capabilities.final_scale

    @pytest.mark.parametrize(
        ("positions", "message"),
        [
            (np.zeros((9, 3)), r"shape \(9, 3\).*expected numbers of shape \(9, 2\)"),
            (np.zeros((8, 2)), r"shape \(8, 2\)"),
            (np.zeros(9), r"shape \(9,\)"),
            (np.full((9, 2), "x"), "dtype <U1"),
            (np.where(np.arange(18).reshape(9, 2) < 3, np.nan, 1), "positions of 2 cells are NaN or infinite"),
            (np.full((9, 2), 1e300), "positions of 9 cells"),
        ],
    )
    def test_bad_input(self, positions, message):
        with pytest.raises(InputError, match=message):
            place(array, no_edges(9), arrays={"positions": positions})
