"""Exact nearest neighbours among many rows, most pairs left out by bounds on their distances.

The result is that of `knn.scan`, bit for bit. Scores (see `tiles`) only propose candidates; those are compared by
direct differences. A row whose candidates are not beyond doubt, as the scores may have rounded, is scanned again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .batches import SPARE, compare, load, new_batch, reset, settle
from .clusters import MEMBERS, Clusters, centred, cluster, nearest_centers
from .compile import inline, kernel
from .knn import MANHATTAN, Reference, coordinates, distances, nearest_rows, nearest_sums
from .parallel import over_rows
from .tiles import QUERIES, WIDTH, tile

AT_LEAST = 10_000
"""Rows from which clusters pay."""
QUERIES_AT_LEAST = 2000
"""New rows from which clusters pay."""
MOST = 4096
"""Clusters, of which all pairs are compared."""
SEED = 0
AT_ONCE = 4
"""Blocks of one cluster whose rows search together."""
SMALLEST = 1e-44
"""Above the most that one square below the range of float32 can lose."""
LARGEST = 1e37
"""Squared lengths beyond which scores may leave the range of float32."""


@inline
def _score_centers(batch, n, centers, out):
    rows, limits = np.empty(QUERIES, np.int64), np.full(QUERIES, np.float32(np.inf))
    scores, hits = np.empty((QUERIES, WIDTH), np.float32), np.empty(QUERIES, np.uint64)
    for i in range(0, n, QUERIES):
        for j in range(QUERIES):
            rows[j] = min(i + j, n - 1)
        for b in range(centers.points.shape[0]):
            if not tile(batch.queries, rows, centers.points, centers.half_norms, b, limits, scores, hits):
                scores[:] = np.inf
            for j in range(min(QUERIES, n - i)):
                out[i + j, b * WIDTH : (b + 1) * WIDTH] = scores[j]


@inline
def _lengths(clusters):
    return np.sqrt(2.0 * clusters.centers_in_blocks.half_norms.ravel().astype(np.float64))


@kernel
def extents(clusters, error, start, stop, radii, gaps):
    """Measure clusters ``start`` to ``stop``.

    Parameters
    ----------
    error
        Scores of points of lengths r and s are off by at most ``error / 2 * (r + s) ** 2``.
    radii
        Out: float64 ``(n_clusters,)``, upper bound of the distance of a member from the center.
    gaps
        Out: float32 ``(n_clusters, n_clusters)``; ``gaps[c, a]`` is a lower bound, over the members of c, of their
        score of center a less that of center c. Over the distance of the centers, that is how far the cluster
        keeps from the plane in the middle between them.
    """
    n_clusters, n_features = clusters.centers.shape
    batch, lengths = new_batch(AT_ONCE * WIDTH, n_features, 1), _lengths(clusters)
    scores = np.empty((AT_ONCE * WIDTH, lengths.shape[0]), np.float32)
    for c in range(start, stop):
        squared_radius, longest = 0.0, 0.0
        gaps[c] = np.inf
        for begin in range(clusters.first[c], clusters.first[c + 1], AT_ONCE):
            n = load(batch, clusters, begin, min(begin + AT_ONCE, clusters.first[c + 1]))
            _score_centers(batch, n, clusters.centers_in_blocks, scores)
            for i in range(n):
                length = np.sqrt(batch.squares[i])
                slack = error * (length + lengths[c]) ** 2
                squared_radius = max(squared_radius, 2.0 * np.float64(scores[i, c]) + batch.squares[i] + slack)
                longest = max(longest, length)
                for a in range(n_clusters):
                    gap = scores[i, a] - scores[i, c]
                    gaps[c, a] = gap if gap < gaps[c, a] else gaps[c, a]
        radii[c] = np.sqrt(squared_radius)
        for a in range(n_clusters):
            gaps[c, a] -= error * ((longest + lengths[c]) ** 2 + (longest + lengths[a]) ** 2)


@kernel
def search(clusters, rows, radii, gaps, error, start, stop, indices, nearest, unsure):
    """Fill the nearest neighbours of the members of clusters ``start`` to ``stop``.

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``: the rows by cluster, as they were given.
    radii, gaps, error
        See `extents`.
    indices, nearest
        Out: int32 and float32 ``(n, k)`` by row: neighbours and squared distances.
    unsure
        Out: bool ``(n,)`` by row: whether a row that is not among the candidates may be a neighbour.
    """
    n_clusters, n_features = clusters.centers.shape
    k = indices.shape[1]
    size = AT_ONCE * WIDTH
    batch, lengths = new_batch(size, n_features, k + SPARE), _lengths(clusters)
    scores = np.empty((size, lengths.shape[0]), np.float32)
    reach, everyone, chosen = np.empty(size), np.arange(size), np.empty(size, np.int64)
    apart, visits = np.empty(n_clusters), np.empty(n_clusters, np.int64)
    sums = np.empty(k + SPARE, np.float32)
    for c in range(start, stop):
        for begin in range(clusters.first[c], clusters.first[c + 1], AT_ONCE):
            n = load(batch, clusters, begin, min(begin + AT_ONCE, clusters.first[c + 1]))
            _score_centers(batch, n, clusters.centers_in_blocks, scores)
            _visit(batch, everyone, n, clusters, c, reach)
            n_visits = _others_in_reach(clusters, c, radii, gaps, reach[:n].max(), apart, visits)
            for v in range(n_visits):
                a = visits[v]
                n_chosen = _choose(batch, n, scores, c, a, lengths, radii, gaps, error, reach, apart[v], chosen)
                if n_chosen:
                    _visit(batch, chosen, n_chosen, clusters, a, reach)
            for i in range(n):
                row = clusters.order[batch.own[i]]
                _finish(batch, i, rows[batch.own[i]], rows, clusters.order, sums, indices[row], nearest[row])
                unsure[row] = not _is_sure(reach[i], nearest[row], batch.squares[i], n_features, error)


@kernel
def search_for(given, around, order, edges, home, clusters, rows, radii, gaps, error, start, stop, out):
    """Fill the nearest members of clusters of the given rows of batches ``start`` to ``stop``.

    Parameters
    ----------
    given, around
        float32 ``(m, n_features)``: the rows that ask, as they were given and less the median of the members.
    order, edges, home
        int64: the rows that ask, in batches of one cluster; first of each batch in it; nearest cluster of each batch.
    out
        Out, by row that asks: indices, nearest, unsure; see `search`, as for the others.
    """
    indices, nearest, unsure = out
    n_clusters, n_features = clusters.centers.shape
    k, size = indices.shape[1], AT_ONCE * WIDTH
    batch, lengths = new_batch(size, n_features, k + SPARE), _lengths(clusters)
    scores = np.empty((size, lengths.shape[0]), np.float32)
    reach, everyone, chosen = np.empty(size), np.arange(size), np.empty(size, np.int64)
    apart, visits = np.empty(n_clusters), np.empty(n_clusters, np.int64)
    sums = np.empty(k + SPARE, np.float32)
    for q in range(start, stop):
        n, c = edges[q + 1] - edges[q], home[q]
        for i in range(n):
            batch.queries[i] = around[order[edges[q] + i]]
        reset(batch, n)
        _score_centers(batch, n, clusters.centers_in_blocks, scores)
        _visit(batch, everyone, n, clusters, c, reach)
        for a in range(n_clusters):
            visits[a], apart[a] = a, 0.0
            for f in range(n_features):
                step = np.float64(clusters.centers[a, f]) - clusters.centers[c, f]
                apart[a] += step * step
        _sort_by(apart, visits, n_clusters)
        for v in range(n_clusters):
            a = visits[v]
            if a == c:
                continue
            n_chosen = _choose(batch, n, scores, c, a, lengths, radii, gaps, error, reach, apart[v], chosen)
            if n_chosen:
                _visit(batch, chosen, n_chosen, clusters, a, reach)
        for i in range(n):
            row = order[edges[q] + i]
            _finish(batch, i, given[row], rows, clusters.order, sums, indices[row], nearest[row])
            unsure[row] = not _is_sure(reach[i], nearest[row], batch.squares[i], n_features, error)


@inline
def _choose(batch, n, scores, c, a, lengths, radii, gaps, error, reach, apart, chosen):
    """Fill which queries have to look into cluster ``a``; return how many."""
    n_chosen = 0
    for i in range(n):
        chosen[n_chosen] = i
        n_chosen += not _is_far(
            scores[i], np.sqrt(batch.squares[i]), c, a, lengths, radii, gaps, error, reach[i], apart
        )
    return n_chosen


@inline
def _finish(batch, i, given, rows, order, sums, indices, nearest):
    """Fill the nearest of a query's candidates, by the rows' own numbers."""
    settle(given, rows, order, batch.found[i], sums, indices, nearest)
    for t in range(indices.shape[0]):
        indices[t] = order[indices[t]] if indices[t] >= 0 else -1


@inline
def _is_far(scores, length, c, a, lengths, radii, gaps, error, reach, apart):
    """Whether no member of cluster ``a`` is in reach of a row that has these scores of centers."""
    slack = error * (length + lengths[a]) ** 2
    # Beyond the plane between the centers by this, times the distance of the centers; and from a.
    beyond = np.float64(scores[a]) - scores[c] + gaps[a, c]
    beyond -= slack + error * (length + lengths[c]) ** 2
    from_center = 2.0 * np.float64(scores[a]) + length * length - slack
    far = beyond > 0 and beyond * beyond >= reach * apart
    return far or from_center >= (np.sqrt(reach) + radii[a]) ** 2


@inline
def _visit(batch, chosen, n_chosen, clusters, c, reach):
    """Compare queries with a cluster; ``reach`` becomes the squared distances up to which they have to look."""
    compare(batch, chosen, 0, n_chosen, clusters.blocks, clusters.members, clusters.first[c], clusters.first[c + 1])
    last = batch.scores.shape[1] - 1
    for s in range(n_chosen):
        i = chosen[s]
        reach[i] = max(2.0 * np.float64(batch.scores[i, last]) + batch.squares[i], 0.0)


@inline
def _others_in_reach(clusters, c, radii, gaps, reach, apart, visits):
    """List the clusters that have something in reach of a member of ``c``, the nearest first."""
    n_visits = 0
    for a in range(clusters.centers.shape[0]):
        between = np.float64(gaps[c, a]) + gaps[a, c]
        total = 0.0
        for f in range(clusters.centers.shape[1]):
            step = np.float64(clusters.centers[a, f]) - clusters.centers[c, f]
            total += step * step
        far = (between > 0 and between * between >= reach * total) or (
            np.sqrt(total) >= radii[a] + radii[c] + np.sqrt(reach)
        )
        apart[n_visits] = total
        visits[n_visits] = a
        n_visits += not far and a != c
    _sort_by(apart, visits, n_visits)
    return n_visits


@inline
def _sort_by(keys, items, n):
    """Sort the first ``n`` items by their keys, by Shell's method."""
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(gap, n):
            key, item, j = keys[i], items[i], i
            while j >= gap and keys[j - gap] > key:
                keys[j] = keys[j - gap]
                items[j] = items[j - gap]
                j -= gap
            keys[j] = key
            items[j] = item


@inline
def _is_sure(reach, nearest, square, n_features, error):
    """Whether all that was not kept, at a squared score distance of at least ``reach``, is farther than the last.

    Were a row left out that is as near as the last neighbour, its true squared distance would be at most ``most``,
    and its score distance at most ``most`` and what scores of points of such lengths round.
    """
    most = np.float64(nearest[nearest.shape[0] - 1]) * (1 + error) + n_features * SMALLEST
    lengths = (2 * np.sqrt(square) + np.sqrt(most)) ** 2
    return lengths < LARGEST and reach > most + error * lengths


def all_neighbors(
    rows: NDArray[np.floating], k: int, metric: str, *, n_jobs: int = 1, at_least: int = AT_LEAST
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return indices and distances ``(n, k)`` of the rows nearest to each row, itself left out, nearest first.

    Ties go to the smaller index. Below ``at_least`` rows, and for Manhattan distances, all pairs are compared.
    """
    if len(rows) < max(at_least, 1) or metric == MANHATTAN or k == 0:
        return nearest_rows(Reference.pack(rows, metric), rows, k, own=np.arange(len(rows)), n_jobs=n_jobs)
    points = coordinates(rows, metric)
    indices, nearest, unsure = _search(points, k, n_jobs)
    found = distances(nearest, metric)
    again = np.flatnonzero(unsure)
    if len(again):
        reference = Reference.pack(rows, metric)
        indices[again], found[again] = nearest_rows(reference, rows[again], k, own=again, n_jobs=n_jobs)
    return indices, found


def clusters_pay(n_rows: int, n_queries: int, metric: str) -> bool:
    """Return whether `nearest_members` is faster than comparing all pairs."""
    return n_rows >= AT_LEAST and n_queries >= QUERIES_AT_LEAST and metric != MANHATTAN


def nearest_members(
    rows: NDArray[np.floating],
    queries: NDArray[np.floating],
    k: int,
    metric: str,
    *,
    n_jobs: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return indices and distances ``(m, k)`` of the rows nearest to each of many queries, nearest first.

    The bits are those of `knn.nearest_rows`, in a fraction of its time where both are many; ties go to the smaller
    index. Not for Manhattan distances.
    """
    asking = coordinates(queries, metric)
    indices, nearest, unsure = _search_for(coordinates(rows, metric), asking, k, n_jobs)
    again = np.flatnonzero(unsure)
    if len(again):
        reference = Reference.pack(rows, metric)
        indices[again], nearest[again] = nearest_sums(reference, asking[again], k, own=None, n_jobs=n_jobs)
    return indices, distances(nearest, metric)


class _Measured(NamedTuple):
    """Clusters, their rows, median, radii and gaps (see `extents`), and what scores are off by."""

    clusters: Clusters
    rows: NDArray[np.float32]
    middle: NDArray[np.float32]
    radii: NDArray[np.float64]
    gaps: NDArray[np.float32]
    error: float


def _measured(points: NDArray[np.float32], n_jobs: int) -> _Measured:
    n_rows, n_features = points.shape
    around, middle = centred(points)
    clusters = cluster(around, max(1, min(n_rows // MEMBERS, MOST)), SEED, n_jobs)
    n_clusters = len(clusters.centers)
    radii, gaps = np.empty(n_clusters), np.empty((n_clusters, n_clusters), np.float32)
    error = 1.1 * (n_features + 8) * 2.0**-24
    over_rows(lambda start, stop: extents(clusters, error, start, stop, radii, gaps), n_clusters, n_jobs, chunk=4)
    return _Measured(clusters, points[clusters.order], middle, radii, gaps, error)


def _search(points, k, n_jobs):
    clusters, by_cluster, _, radii, gaps, error = _measured(points, n_jobs)
    indices, nearest = np.empty((len(points), k), np.int32), np.empty((len(points), k), np.float32)
    unsure = np.empty(len(points), np.bool_)
    over_rows(
        lambda start, stop: search(clusters, by_cluster, radii, gaps, error, start, stop, indices, nearest, unsure),
        len(clusters.centers),
        n_jobs,
        chunk=4,
    )
    return indices, nearest, unsure


def _search_for(points, asking, k, n_jobs):
    clusters, by_cluster, middle, radii, gaps, error = _measured(points, n_jobs)
    with np.errstate(over="ignore", invalid="ignore"):
        around = asking - middle
    order, edges, home = _batches(nearest_centers(around, clusters.centers, n_jobs)[0])
    out = (
        np.empty((len(asking), k), np.int32),
        np.empty((len(asking), k), np.float32),
        np.empty(len(asking), np.bool_),
    )
    args = asking, around, order, edges, home, clusters, by_cluster, radii, gaps, error
    over_rows(lambda start, stop: search_for(*args, start, stop, out), len(home), n_jobs, chunk=1)
    return out


def _batches(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return rows in the order of their labels, the first of each batch in it and the end, and the batches' labels."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    edges = np.flatnonzero((np.arange(len(labels)) - first) % (AT_ONCE * WIDTH) == 0)
    return order, np.append(edges, len(labels)), labels[order[edges]].astype(np.int64)
