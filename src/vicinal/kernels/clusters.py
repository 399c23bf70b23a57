"""Rows in clusters of about as many each, laid out in blocks that `tiles.tile` reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import kernel
from .parallel import over_rows
from .tiles import QUERIES, WIDTH, lowest_bit, tile

MEMBERS = 256
"""Rows a cluster should have."""
AT_MOST = 4 * MEMBERS
"""Rows a cluster may have before it is cut up."""
SAMPLED = 48
"""Rows sampled for each centre."""
ROUNDS = 8
"""Times that centres move."""
MIDDLE = 1000
"""Rows, about, that decide where the middle is."""
CHUNK = 60 * QUERIES
"""Rows handed to a thread at a time."""


class Blocks(NamedTuple):
    """Points in blocks of `WIDTH`.

    Attributes
    ----------
    points
        float32 ``(n_blocks, n_features, WIDTH)``.
    half_norms
        float32 ``(n_blocks, WIDTH)``: half the squared length of each point, infinite where there is none.
    """

    points: NDArray[np.float32]
    half_norms: NDArray[np.float32]


class Clusters(NamedTuple):
    """Rows by cluster.

    Attributes
    ----------
    blocks
        The rows, of which no block holds two clusters.
    members
        int32 ``(n_blocks, WIDTH)``: position in ``order`` of each point, -1 for none.
    order
        int32 ``(n_rows,)``: the rows by cluster.
    first
        int64 ``(n_clusters + 1,)``: first block of each cluster.
    centers
        float32 ``(n_clusters, n_features)``: means of the clusters.
    centers_in_blocks
        The same in blocks.
    """

    blocks: Blocks
    members: NDArray[np.int32]
    order: NDArray[np.int32]
    first: NDArray[np.int64]
    centers: NDArray[np.float32]
    centers_in_blocks: Blocks


@kernel
def fill(rows, order, first, starts, start, stop, points, half_norms, members):
    """Copy the rows of clusters ``start`` to ``stop`` into their blocks; `order` lists rows by cluster."""
    for c in range(start, stop):
        for i in range(starts[c], starts[c + 1]):
            b, p = first[c] + (i - starts[c]) // WIDTH, (i - starts[c]) % WIDTH
            total = 0.0
            for f in range(rows.shape[1]):
                value = rows[order[i], f]
                points[b, f, p] = value
                total += np.float64(value) * np.float64(value)
            half_norms[b, p] = 0.5 * total
            members[b, p] = i


@kernel
def assign(rows, centers, start, stop, labels, scores):
    """Fill the nearest center of rows ``start`` to ``stop``, ties to the first, and its score (see `tiles`)."""
    queries, limits = np.empty(QUERIES, np.int64), np.empty(QUERIES, np.float32)
    found, hits = np.empty((QUERIES, WIDTH), np.float32), np.empty(QUERIES, np.uint64)
    for i in range(start, stop, QUERIES):
        n_queries = min(QUERIES, stop - i)
        for j in range(QUERIES):
            queries[j] = min(i + j, stop - 1)
            limits[j] = np.inf if j < n_queries else -np.inf
        for j in range(n_queries):
            labels[i + j] = 0
        for b in range(centers.points.shape[0]):
            if not tile(rows, queries, centers.points, centers.half_norms, b, limits, found, hits):
                continue
            for j in range(n_queries):
                bits = hits[j]
                while bits:
                    p = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    if found[j, p] < limits[j]:
                        limits[j] = found[j, p]
                        labels[i + j] = b * WIDTH + p
        for j in range(n_queries):
            scores[i + j] = limits[j]


@kernel
def means(rows, labels, n_clusters):
    """Return the sums of the rows by label, float64 ``(n_clusters, n_features)``, and their counts."""
    sums = np.zeros((n_clusters, rows.shape[1]))
    counts = np.zeros(n_clusters, np.int64)
    for i in range(rows.shape[0]):
        counts[labels[i]] += 1
        for f in range(rows.shape[1]):
            sums[labels[i], f] += rows[i, f]
    for c in range(n_clusters):
        for f in range(rows.shape[1]):
            sums[c, f] /= max(counts[c], 1)
    return sums, counts


def centred(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows less the median of evenly spaced ones, and that median.

    Scores round by the lengths of rows; a mean would be far from most rows where a few are far off.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        middle = np.median(rows[:: len(rows) // MIDDLE + 1], axis=0).astype(np.float32)
        return rows - middle, middle


def in_blocks(points: NDArray[np.float32]) -> Blocks:
    """Lay out points ``(n, n_features)`` in blocks, in their order."""
    n, n_features = points.shape
    n_blocks = -(-n // WIDTH)
    padded = np.zeros((n_blocks * WIDTH, n_features), np.float32)
    padded[:n] = points
    half_norms = np.full(n_blocks * WIDTH, np.inf, np.float32)
    with np.errstate(over="ignore"):
        half_norms[:n] = 0.5 * (points.astype(np.float64) ** 2).sum(axis=1)
    blocks = np.ascontiguousarray(padded.reshape(n_blocks, WIDTH, n_features).transpose(0, 2, 1))
    return Blocks(blocks, half_norms.reshape(n_blocks, WIDTH))


def nearest_centers(
    rows: NDArray[np.float32], centers: NDArray[np.float32], n_jobs: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the nearest center of each row, and its score."""
    labels, scores = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    blocks = in_blocks(centers)
    over_rows(lambda start, stop: assign(rows, blocks, start, stop, labels, scores), len(rows), n_jobs, chunk=CHUNK)
    return labels, scores


def k_means(rows: NDArray[np.float32], n_clusters: int, seed: int, n_jobs: int) -> NDArray[np.float32]:
    """Return centers found on a sample by Lloyd's iterations; the same bits for any number of threads."""
    draw = np.random.Generator(np.random.Philox(key=seed))
    n_sampled = min(len(rows), SAMPLED * n_clusters)
    sample = rows[np.sort(draw.choice(len(rows), n_sampled, replace=False, shuffle=False))]
    centers = sample[np.sort(draw.choice(n_sampled, n_clusters, replace=False, shuffle=False))]
    for _ in range(ROUNDS):
        labels, scores = nearest_centers(sample, centers, n_jobs)
        moved, counts = means(sample, labels, n_clusters)
        centers = moved.astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            # Equal centers: all but the first have no row. They go where rows are far from theirs.
            from_center = scores + 0.5 * (sample.astype(np.float64) ** 2).sum(axis=1)
            centers[empty] = sample[np.argsort(-from_center, kind="stable")[: len(empty)]]
    return centers


def cluster(rows: NDArray[np.float32], n_clusters: int, seed: int, n_jobs: int) -> Clusters:
    """Put rows into clusters, none empty and none of more than `AT_MOST`."""
    labels, _ = nearest_centers(rows, k_means(rows, n_clusters, seed, n_jobs), n_jobs)
    order = np.argsort(labels, kind="stable").astype(np.int32)
    counts = np.bincount(labels)
    starts = _cut(rows, order, np.concatenate([[0], np.cumsum(counts[counts > 0])]))
    sizes = np.diff(starts)
    labels[order] = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    centers = means(rows, labels, len(sizes))[0].astype(np.float32)
    first = np.concatenate([[0], np.cumsum(-(-sizes // WIDTH))])
    blocks = Blocks(
        np.zeros((first[-1], rows.shape[1], WIDTH), np.float32), np.full((first[-1], WIDTH), np.inf, np.float32)
    )
    members = np.full((first[-1], WIDTH), -1, np.int32)
    over_rows(
        lambda start, stop: fill(rows, order, first, starts, start, stop, *blocks, members), len(sizes), n_jobs, chunk=8
    )
    return Clusters(blocks, members, order, first, centers, in_blocks(centers))


def around_centers(clusters: Clusters) -> Clusters:
    """Return the clusters with the points of each block less the center of its cluster."""
    centers = np.repeat(clusters.centers, np.diff(clusters.first), axis=0)
    points = clusters.blocks.points - centers[:, :, None]
    absent = clusters.members < 0
    points.transpose(0, 2, 1)[absent] = 0
    half_norms = np.float32(0.5) * np.einsum("bfp,bfp->bp", points, points)
    half_norms[absent] = np.inf
    return clusters._replace(blocks=Blocks(points, half_norms))


def _cut(rows: NDArray[np.float32], order: NDArray[np.int32], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut large clusters into slices along the direction of their farthest member; sorts ``order`` within them."""
    edges = [starts[:1]]
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        if stop - start > AT_MOST:
            own = rows[order[start:stop]].astype(np.float64)
            own -= own.mean(axis=0)
            along = (own * own[np.argmax((own**2).sum(axis=1))]).sum(axis=1)  # BLAS would round by its threads
            order[start:stop] = order[start:stop][np.argsort(along, kind="stable")]
            n_slices = -(-(stop - start) // (AT_MOST // 2))
            edges.append(np.linspace(start, stop, n_slices + 1).astype(np.int64)[1:-1])
        edges.append(np.array([stop]))
    return np.concatenate(edges)
