import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from scipy.spatial.distance import cdist  # noqa: E402

from vicinal.api import InputError, KnnRequest  # noqa: E402
from vicinal.testing import KnnConformance  # noqa: E402
from vicinal_torch import devices, knn  # noqa: E402
from vicinal_torch.devices import choose_device  # noqa: E402
from vicinal_torch.knn import SPEC, TorchIndex, TorchKnn, TorchKnnParams, few_equal, nearest_columns, sum_in_order  # noqa: E402


class TestConformance(KnnConformance):
    spec = SPEC
    params = {"device": "cpu"}
    metrics = ("euclidean", "cosine")


def build(rows, k, *, metric="euclidean", n_jobs=1, device="cpu", tile_rows=None):
    rows = np.array(rows, np.float32)
    rows.setflags(write=False)
    request = KnnRequest(representation=rows, k=k, n_obs=len(rows), metric=metric, n_jobs=n_jobs)
    return TorchKnn(TorchKnnParams(device=device, tile_rows=tile_rows)).build(request)


def brute(rows, others, k, *, metric="euclidean", itself=False):
    every = cdist(np.asarray(rows, np.float64), np.asarray(others, np.float64), metric)
    if itself:
        np.fill_diagonal(every, np.inf)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(every, order, axis=1)


def assert_is(found, expected, *, atol=0.0):
    assert found.indices.dtype == np.int32
    assert found.distances.dtype == np.float32
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_allclose(found.distances, expected[1], rtol=1e-6, atol=atol)


def assert_same(one, two):
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


@pytest.fixture
def small_tiles(monkeypatch):
    """So that a small input has many tiles, the last one narrow."""
    monkeypatch.setattr(devices, "CPU_TILE", 40_000)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class TestNeighbors:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**32), st.integers(2, 160), st.integers(1, 70), st.integers(-6, 6), st.booleans())
    def test_brute_force_at_any_scale_and_offset(self, seed, n, n_features, power, far_off):
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(n, n_features)) * 10.0**power
        rows[:, ::2] += far_off * 1e6 * 10.0**power * draw.normal()
        k = int(draw.integers(1, n))
        rows = rows.astype(np.float32)
        assert_is(build(rows, k).neighbors(), brute(rows, rows, k, itself=True))

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 2**32), st.integers(2, 160), st.integers(1, 6), st.sampled_from([2.0**-40, 1, 2.0**30]))
    def test_ties_go_to_the_smaller_index(self, seed, n, n_features, scale):
        draw = np.random.default_rng(seed)
        rows = draw.integers(0, 3, size=(n, n_features)) * scale
        k = int(draw.integers(1, n))
        assert_is(build(rows, k).neighbors(), brute(rows, rows, k, itself=True))

    def test_ties_beyond_the_candidates(self, rng, small_tiles):
        rows = rng.integers(0, 2, size=(700, 6)).astype(np.float32)
        assert_is(build(rows, 15).neighbors(), brute(rows, rows, 15, itself=True))

    def test_small_noise_far_from_the_origin(self, rng, small_tiles):
        rows = (1e6 + rng.normal(size=(500, 12))).astype(np.float32)
        assert_is(build(rows, 20).neighbors(), brute(rows, rows, 20, itself=True))

    def test_products_that_say_nothing(self, rng, small_tiles):
        rows = rng.normal(size=(400, 5))
        rows[::2] += 1e6
        rows[::3] -= 1e6
        rows = rows.astype(np.float32)
        assert_is(build(rows, 10, n_jobs=2).neighbors(), brute(rows, rows, 10, itself=True))

    def test_one_row_far_off(self, rng, small_tiles):
        rows = rng.normal(size=(400, 8)).astype(np.float32)
        rows[17] = 3e30
        assert_is(build(rows, 10).neighbors(), brute(rows, rows, 10, itself=True))

    @pytest.mark.parametrize("size", [1e-44, 1e-30, 1e18, 1e37])
    def test_squares_outside_the_range_of_float32(self, rng, size):
        rows = (rng.normal(size=(200, 7)) * size).astype(np.float32)
        assert_is(build(rows, 9).neighbors(), brute(rows, rows, 9, itself=True), atol=1e-45)

    def test_distances_outside_the_range_of_float32_are_missing(self):
        rows = np.array([[3e38, 3e38], [-3e38, -3e38], [3e38, 2e38]], np.float32)
        found = build(rows, 2).neighbors()
        np.testing.assert_array_equal(found.indices, [[2, -1], [-1, -1], [0, -1]])
        np.testing.assert_array_equal(np.isinf(found.distances), found.indices < 0)

    def test_constant_columns_and_constant_rows(self, rng):
        rows = rng.normal(size=(300, 6)).astype(np.float32)
        rows[:, 2:4] = 123.456
        assert_is(build(rows, 8).neighbors(), brute(rows, rows, 8, itself=True))
        rows[:] = 123.456
        assert_is(build(rows, 8).neighbors(), brute(rows, rows, 8, itself=True))

    @pytest.mark.parametrize("n", [2, 3, 50, 300])
    def test_all_others(self, rng, n):
        rows = rng.normal(size=(n, 4)).astype(np.float32)
        assert_is(build(rows, n - 1).neighbors(), brute(rows, rows, n - 1, itself=True))

    def test_one_row_and_no_neighbors(self):
        found = build(np.ones((1, 3)), 0).neighbors()
        assert found.indices.shape == (1, 0) == found.distances.shape

    def test_neither_tiles_nor_threads_change_it(self, rng, monkeypatch):
        rows = rng.normal(size=(3000, 20)).astype(np.float32)
        usual = build(rows, 15).neighbors()
        assert_is(usual, brute(rows, rows, 15, itself=True))
        for n_jobs, tile_rows in [(2, None), (3, 7), (1, 10_000)]:
            assert_same(build(rows, 15, n_jobs=n_jobs, tile_rows=tile_rows).neighbors(), usual)
        monkeypatch.setattr(devices, "CPU_TILE", 100_000)
        assert_same(build(rows, 15, n_jobs=2).neighbors(), usual)

    def test_offsets_and_equal_rows_leave_no_doubt(self, rng, monkeypatch):
        passes, one_pass = [], TorchIndex._pass
        monkeypatch.setattr(TorchIndex, "_pass", lambda *given: passes.append(given) or one_pass(*given))
        rows = (1e6 + rng.normal(size=(2000, 12))).astype(np.float32)
        for some in (rows, rows[np.r_[:900, np.zeros(900, int)]], np.ones_like(rows)):
            passes.clear()
            assert_is(build(some, 9).neighbors(), brute(some, some, 9, itself=True))
            assert len(passes) == 1 or len(passes[1][4]) < 50

    def test_input_is_left_as_it_was(self, rng):
        rows = rng.normal(size=(60, 3)).astype(np.float32)
        index = build(rows, 5)
        first = index.neighbors()
        np.testing.assert_array_equal(index._rows, rows)
        assert_same(index.neighbors(), first)


class TestCosine:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 2**32), st.integers(2, 120), st.integers(2, 40), st.integers(-6, 6), st.floats(0, 3))
    def test_brute_force(self, seed, n, n_features, power, offset):
        draw = np.random.default_rng(seed)
        rows = ((draw.normal(size=(n, n_features)) + offset) * 10.0**power).astype(np.float32)
        k = int(draw.integers(1, n))
        every = half_of_squared(rows)
        order = np.argsort(every, axis=1, kind="stable")[:, :k]
        assert_near_order(build(rows, k, metric="cosine").neighbors(), order, every)

    def test_rows_of_zeros(self, rng):
        rows = rng.normal(size=(40, 3)).astype(np.float32)
        rows[[4, 9, 30]] = 0
        found = build(rows, 39, metric="cosine").neighbors()
        np.testing.assert_array_equal(found.indices[4, :2], [9, 30])
        np.testing.assert_array_equal(found.distances[4], [0, 0] + [1] * 37)
        others = np.setdiff1d(np.arange(40), [4, 9, 30])
        np.testing.assert_array_equal(np.isin(found.indices[others], [4, 9, 30]), found.distances[others] == 1)

    def test_length_does_not_matter(self, rng):
        rows = rng.normal(size=(200, 5)).astype(np.float32)
        lengths = 2.0 ** rng.integers(-60, 60, size=(200, 1))
        assert_same(build(rows * lengths, 9, metric="cosine").neighbors(), build(rows, 9, metric="cosine").neighbors())


def half_of_squared(rows):
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    every = cdist(unit, unit, "sqeuclidean") / 2
    np.fill_diagonal(every, np.inf)
    return every


def assert_near_order(found, order, every):
    """Fail unless neighbours are those expected, or as near to the precision of float64."""
    mine, theirs = np.take_along_axis(every, found.indices, axis=1), np.take_along_axis(every, order, axis=1)
    np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-30)
    np.testing.assert_allclose(found.distances, theirs, rtol=1e-6, atol=1e-30)


class TestQuery:
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_one_by_one_is_as_in_a_batch(self, rng, metric, small_tiles):
        rows, new = rng.normal(size=(500, 11)).astype(np.float32), rng.normal(size=(150, 11)).astype(np.float32)
        index = build(rows, 8, metric=metric, n_jobs=2)
        together = index.query(new, 6)
        np.testing.assert_array_equal(together.indices, brute(new, rows, 6, metric=metric)[0])
        for i in range(0, 150, 7):
            alone = index.query(new[i : i + 1], 6)
            np.testing.assert_array_equal(alone.indices[0], together.indices[i])
            np.testing.assert_array_equal(alone.distances[0], together.distances[i])

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 30), st.integers(-6, 6))
    def test_rows_of_another_scale(self, seed, n, k, power):
        draw = np.random.default_rng(seed)
        rows = draw.normal(size=(n, 6)).astype(np.float32)
        new = (draw.normal(size=(5, 6)) * 10.0**power).astype(np.float32)
        found, k = build(rows, 0).query(new, k), min(k, n)
        order, distances = brute(new, rows, k)
        np.testing.assert_array_equal(found.indices[:, :k], order)
        np.testing.assert_allclose(found.distances[:, :k], distances, rtol=1e-6)
        assert (found.indices[:, k:] == -1).all()
        assert np.isinf(found.distances[:, k:]).all()

    def test_a_row_too_far_for_products(self, rng):
        rows = rng.normal(size=(300, 6)).astype(np.float32) * np.float32(1e-6)
        new = np.vstack([rows[:2], np.full((1, 6), 1e20), rows[2:3]]).astype(np.float32)
        assert_is(build(rows, 5).query(new, 4), brute(new, rows, 4))

    def test_more_equal_rows_than_the_index_was_built_for(self, rng):
        rows = np.repeat(rng.normal(size=(4, 3)), 50, axis=0).astype(np.float32)
        index = build(rows, 2)
        for k in (30, 2, 60):
            assert_is(index.query(rows[::40], k), brute(rows[::40], rows, k))

    def test_no_rows(self):
        assert build(np.eye(3), 2).query(np.empty((0, 3), np.float32), 2).indices.shape == (0, 2)

    def test_other_columns(self):
        with pytest.raises(InputError, match=r"rows has shape \(2, 4\).*\(n_rows, 3\)"):
            build(np.eye(3), 2).query(np.ones((2, 4), np.float32), 1)


class TestWhatCannotBe:
    @pytest.mark.parametrize("metric", ["manhattan", "cosin"])
    def test_metric(self, metric):
        with pytest.raises(InputError, match=f"metric='{metric}' is unknown to knn='torch'.*'l2', 'cosine'"):
            build(np.eye(3), 1, metric=metric)

    def test_function(self):
        with pytest.raises(InputError, match="metric='m:f' is a function"):
            TorchKnn(TorchKnnParams()).check_metric("m:f", lambda x, y: 0.0)

    @pytest.mark.parametrize("tile_rows", [0, -3, 2.5, True, "8"])
    def test_tile_rows(self, tile_rows):
        with pytest.raises(InputError, match="tile_rows=.* positive integer"):
            TorchKnn(TorchKnnParams(tile_rows=tile_rows))

    @pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "", None, 0])
    def test_unknown_device(self, name):
        with pytest.raises(InputError, match=r"device=.* is unknown; allowed are 'auto', 'cpu'"):
            choose_device(name)

    def test_device_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(InputError, match=r"device='cuda:1' is not available to torch here; allowed are 'auto'"):
            build(np.eye(3), 1, device="cuda:1")


class TestDevices:
    @pytest.mark.parametrize(
        ("cuda", "mps", "chosen"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu"), (1, False, "cuda")]
    )
    def test_auto(self, monkeypatch, cuda, mps, chosen):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert choose_device("auto") == torch.device(chosen)
        assert choose_device("cpu") == torch.device("cpu")
        if cuda == 2:
            assert choose_device("cuda:1") == torch.device("cuda:1")

    def test_cuda_gives_the_same_bits(self, rng):
        if not torch.cuda.is_available():
            pytest.skip("torch has no CUDA device here")
        rows = rng.normal(size=(5000, 30)).astype(np.float32)
        for metric in ("euclidean", "cosine"):
            on_cpu, on_cuda = (build(rows, 15, metric=metric, device=device) for device in ("cpu", "cuda"))
            assert_same(on_cpu.neighbors(), on_cuda.neighbors())
            assert_same(on_cpu.query(rows[:9] + 1, 5), on_cuda.query(rows[:9] + 1, 5))

    @pytest.mark.parametrize("n_jobs", [1, 2, 5])
    def test_number_of_threads_is_as_before(self, n_jobs):
        before = torch.get_num_threads()
        build(np.eye(30), 3, n_jobs=n_jobs).neighbors()
        assert torch.get_num_threads() == before
        with pytest.raises(ZeroDivisionError), devices.threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == before

    def test_searches_in_full_precision(self, monkeypatch):
        found = []
        monkeypatch.setattr(knn, "nearest_columns", lambda *given: found.append(now()) or nearest_columns(*given))
        now = devices._settings()[-1][0]
        before = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("medium")
            build(np.random.default_rng(0).normal(size=(90, 3)), 3).neighbors()
            assert set(found) <= {"ieee", "highest"}
            assert found
        finally:
            torch.set_float32_matmul_precision(before)

    def test_less_precision_elsewhere_changes_nothing(self, rng):
        rows = rng.normal(size=(2000, 64)).astype(np.float32)
        known, before = build(rows, 10).neighbors(), torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("medium")
            with torch.autocast("cpu"):
                assert_same(build(rows, 10).neighbors(), known)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)

    def test_products_are_those_of_float32(self):
        one = torch.full((64, 64), 1 + 2.0**-12)
        before = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("medium")
            with devices.full_precision():
                assert float((one @ one)[0, 0]) > 64
        finally:
            torch.set_float32_matmul_precision(before)

    def test_torch_before_fp32_precision(self, monkeypatch):
        monkeypatch.setattr(torch.backends.mkldnn, "matmul", None)
        before = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("medium")
            with devices.full_precision():
                assert torch.get_float32_matmul_precision() == "highest"
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)

    def test_several_searches_at_once(self, rng):
        rows, before = rng.normal(size=(900, 10)).astype(np.float32), torch.get_num_threads()
        known, precision = build(rows, 7).neighbors(), devices._settings()[0][0]()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: build(rows, 7, n_jobs=2).neighbors(), range(8)))
        for table in found:
            assert_same(table, known)
        assert (torch.get_num_threads(), devices._settings()[0][0]()) == (before, precision)

    def test_random_state_of_torch_is_left_alone(self):
        before = torch.random.get_rng_state()
        build(np.eye(30), 3).neighbors()
        assert torch.equal(torch.random.get_rng_state(), before)


class TestParts:
    @pytest.mark.parametrize(("n_columns", "width"), [(5, 9), (640, 3), (641, 9), (671, 9), (5000, 21)])
    def test_nearest_columns(self, rng, n_columns, width):
        scores = torch.tensor(rng.integers(0, 400, size=(8, n_columns)).astype(np.float32))
        found = nearest_columns(scores, width)
        width = min(width, n_columns)
        assert [len(set(row)) for row in found.tolist()] == [width] * 8
        expected = scores.sort(1).values[:, :width]
        assert torch.equal(scores.gather(1, found).sort(1).values, expected)

    @pytest.mark.parametrize("n", [1, 2, 3, 50, 127])
    def test_sums_are_the_same_in_numpy_and_torch(self, rng, n):
        terms = rng.normal(size=(6, 4, n))
        expected, twin = terms.sum(axis=-1), torch.tensor(terms)
        found = sum_in_order(terms.copy())
        np.testing.assert_allclose(found, expected, atol=1e-12)
        np.testing.assert_array_equal(sum_in_order(twin).numpy(), found)
        np.testing.assert_array_equal(sum_in_order(terms[2:3, 1:2].copy())[0, 0], found[2, 1])

    def test_few_equal_keeps_the_first(self):
        rows = np.array([[1, 2], [0, 0], [1, 2], [-0.0, 0], [1, 2], [0, -0.0], [3, 4]], np.float32)
        np.testing.assert_array_equal(few_equal(rows, 1), [0, 1, 6])
        np.testing.assert_array_equal(few_equal(rows, 2), [0, 1, 2, 3, 6])
        np.testing.assert_array_equal(few_equal(rows, 9), np.arange(7))


def test_naming_the_backend_does_not_import_torch():
    code = "import sys, vicinal_torch.knn; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
