"""Approximate nearest neighbours: each row looks into the clusters whose centers are nearest to it.

An inverted file in the words of the field. What clusters miss, neighbours of neighbours mostly know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .batches import SPARE, Batch, compare, insert, load, new_batch, reset, settle, squared_distance
from .clusters import MEMBERS, Clusters, around_centers, centred, cluster
from .compile import inline, kernel
from .knn import EUCLIDEAN, Reference, coordinates, distances, nearest_sums
from .parallel import over_rows
from .tiles import QUERIES, WIDTH, lowest_bit, tile

CLUSTERS_PER_ROOT = 4
"""Clusters are at most this times the square root of the number of rows."""
BLOCKS_AT_ONCE = 128
"""Blocks whose rows search together: the more, the more of them ask for a cluster while it is in cache."""
NEAR = 20
"""Neighbours of a row, and of each of these, that a sweep follows."""
SLOTS = 2048
"""Size of the table of the rows met in a sweep, a power of 2."""
TRIES = 8
"""Slots of it in which a row may be."""


@kernel
def probe(clusters, rows, n_probe, names, edges, start, stop, indices, nearest):
    """Fill the neighbours that the members of batches ``start`` to ``stop`` find in the clusters nearest to them.

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``: the rows by cluster, as they were given.
    n_probe
        Clusters that each row looks into, besides its own.
    names
        int32 ``(n_center_blocks, WIDTH)``: 0, 1, 2, ...: the clusters as members of their blocks.
    edges
        int64 ``(n_batches + 1,)``: first cluster of each batch.
    indices, nearest
        Out: int32 and float32 ``(n, k)``, by cluster: positions of neighbours, and squared distances.
    """
    n_clusters, n_features = clusters.centers.shape
    size = (clusters.first[edges[start + 1 : stop + 1]] - clusters.first[edges[start:stop]]).max() * WIDTH
    batch = new_batch(size, n_features, indices.shape[1] + SPARE)
    to_centers = Batch(
        batch.queries,
        batch.squares,
        np.full(size, -1, np.int32),
        np.empty((size, n_probe), np.float32),
        np.empty((size, n_probe), np.int32),
    )
    home, everyone = np.empty(size, np.int32), np.arange(size)
    asking, visits = np.empty(size * n_probe, np.int64), np.empty(n_clusters, np.int64)
    ends = np.zeros(n_clusters, np.int64)
    sums = np.empty(batch.scores.shape[1], np.float32)
    for q in range(start, stop):
        n = _load(batch, clusters, edges[q], edges[q + 1])
        to_centers.scores[:n] = np.inf
        to_centers.found[:n] = -1
        centers = clusters.centers_in_blocks
        compare(to_centers, everyone, 0, n, centers, names, 0, names.shape[0])
        i = 0
        for c in range(edges[q], edges[q + 1]):
            begin, end = clusters.first[c], clusters.first[c + 1]
            n_members = 0
            for b in range(begin, end):
                n_members += (clusters.members[b] >= 0).sum()
            home[i : i + n_members] = c
            _compare_around(batch, everyone, i, i + n_members, clusters, c)
            i += n_members
        n_visits = _by_cluster(to_centers.found, home, n, asking, visits, ends)
        first = 0
        for v in range(n_visits):
            c = visits[v]
            _compare_around(batch, asking, first, ends[c], clusters, c)
            first = ends[c]
            ends[c] = 0
        for i in range(n):
            own = batch.own[i]
            settle(rows[own], rows, clusters.order, batch.found[i], sums, indices[own], nearest[own])


@inline
def _load(batch, clusters, first, last):
    """Fill a batch with the members of clusters ``first`` to ``last``, as far from the middle as they are."""
    n = load(batch, clusters, clusters.first[first], clusters.first[last])
    i = 0
    for c in range(first, last):
        for b in range(clusters.first[c], clusters.first[c + 1]):
            for p in range(WIDTH):
                if clusters.members[b, p] < 0:
                    break
                for f in range(batch.queries.shape[1]):
                    batch.queries[i, f] += clusters.centers[c, f]
                i += 1
    return n


@inline
def _compare_around(batch, chosen, start, stop, clusters, c):
    """Let the queries ``chosen[start:stop]`` keep what is nearest among the members of cluster ``c``.

    The scores they keep are half squared distances, found from places relative to the cluster's center: relative to
    the middle of all, they would be lost to rounding where a dense part lies far out.
    """
    n_features, last = batch.queries.shape[1], batch.scores.shape[1] - 1
    near, rows = np.zeros((QUERIES, n_features), np.float32), np.arange(QUERIES)
    lengths, limits = np.zeros(QUERIES, np.float32), np.empty(QUERIES, np.float32)
    scores, hits = np.empty((QUERIES, WIDTH), np.float32), np.empty(QUERIES, np.uint64)
    points, half_norms = clusters.blocks
    for i in range(start, stop, QUERIES):
        n_rows = min(QUERIES, stop - i)
        limits[:] = -np.inf
        for j in range(n_rows):
            row, total = chosen[i + j], np.float32(0)
            for f in range(n_features):
                near[j, f] = batch.queries[row, f] - clusters.centers[c, f]
                total += near[j, f] * near[j, f]
            lengths[j] = np.float32(0.5) * total
            limits[j] = batch.scores[row, last] - lengths[j]
        for b in range(clusters.first[c], clusters.first[c + 1]):
            if not tile(near, rows, points, half_norms, b, limits, scores, hits):
                continue
            for j in range(n_rows):
                bits, row = hits[j], chosen[i + j]
                while bits:
                    p = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    score = scores[j, p] + lengths[j]
                    if score < batch.scores[row, last] and clusters.members[b, p] != batch.own[row]:
                        insert(score, clusters.members[b, p], batch.scores[row], batch.found[row])
                limits[j] = batch.scores[row, last] - lengths[j]


@inline
def _by_cluster(probes, home, n, asking, visits, ends):
    """List the queries by the cluster they ask for, clusters that are nearest to some query first.

    Returns the number of clusters; their numbers are in ``visits``, and ``ends``, given as zeros, says where in
    ``asking`` the queries of each end.
    """
    n_visits = 0
    for t in range(probes.shape[1]):
        for i in range(n):
            c = probes[i, t]
            if c >= 0 and c != home[i]:
                if ends[c] == 0:
                    visits[n_visits] = c
                    n_visits += 1
                ends[c] += 1
    total = 0
    for v in range(n_visits):
        total, ends[visits[v]] = total + ends[visits[v]], total
    for i in range(n):
        for t in range(probes.shape[1]):
            c = probes[i, t]
            if c >= 0 and c != home[i]:
                asking[ends[c]] = i
                ends[c] += 1
    return n_visits


@kernel
def sweep(rows, names, indices, nearest, start, stop, better, closer):
    """Fill the nearest of the neighbours, and neighbours of neighbours, of rows ``start`` to ``stop``."""
    k = indices.shape[1]
    seen = np.full(SLOTS, -1, np.int64)
    for i in range(start, stop):
        found, sums = better[i], closer[i]
        n = 0
        for t in range(k):
            if indices[i, t] >= 0:
                _mark(seen, i, indices[i, t])
                n += 1
            found[t] = indices[i, t]
            sums[t] = nearest[i, t]
        for t in range(min(n, NEAR)):
            for u in range(min(k, NEAR)):
                m = indices[indices[i, t], u]
                if m < 0 or m == i or not _mark(seen, i, m):
                    continue
                total = squared_distance(rows[m], rows[i])
                if total <= sums[k - 1]:
                    _improve(total, m, names, sums, found)


@inline
def _improve(total, m, names, sums, found):
    for t in range(found.shape[0]):  # the table of rows met may have forgotten it
        if found[t] == m:
            return
    j = found.shape[0]
    while j > 0 and (
        found[j - 1] < 0 or sums[j - 1] > total or (sums[j - 1] == total and names[found[j - 1]] > names[m])
    ):
        if j < found.shape[0]:
            sums[j] = sums[j - 1]
            found[j] = found[j - 1]
        j -= 1
    if j < found.shape[0]:
        sums[j] = total
        found[j] = m


@inline
def _mark(seen, i, m):
    """Note that row ``i`` has met ``m``; return whether it was the first time, as far as the table remembers."""
    key = np.int64(i) << 32 | np.int64(m)
    slot = (np.int64(m) * 40503 >> 3) & (SLOTS - 1)
    for _ in range(TRIES):
        if seen[slot] == key:
            return False
        if seen[slot] >> 32 != i:
            break
        slot = (slot + 1) & (SLOTS - 1)
    seen[slot] = key
    return True


@kernel
def place(clusters, rows, given, centred_rows, n_probe, names, start, stop, indices, nearest):
    """Fill the neighbours among the members of given rows ``start`` to ``stop``, each on its own.

    Parameters
    ----------
    given, centred_rows
        float32 ``(m, n_features)``: the rows that ask, as they were given and less the median of the members.
    indices, nearest
        Out: int32 and float32 ``(m, k)``: positions of members, and squared distances.
    """
    n_features = given.shape[1]
    batch, to_centers = new_batch(1, n_features, indices.shape[1] + SPARE), new_batch(1, n_features, n_probe)
    alone, sums = np.zeros(1, np.int64), np.empty(batch.scores.shape[1], np.float32)
    for i in range(start, stop):
        batch.queries[0] = centred_rows[i]
        to_centers.queries[0] = centred_rows[i]
        reset(batch, 1)
        reset(to_centers, 1)
        compare(to_centers, alone, 0, 1, clusters.centers_in_blocks, names, 0, names.shape[0])
        for t in range(n_probe):
            c = to_centers.found[0, t]
            if c >= 0:
                _compare_around(batch, alone, 0, 1, clusters, c)
        settle(given[i], rows, clusters.order, batch.found[0], sums, indices[i], nearest[i])


@dataclass(frozen=True)
class Index:
    """Rows by cluster.

    Attributes
    ----------
    clusters
        Of the rows less their median, those in the blocks less the center of their cluster too.
    rows
        float32 ``(n, n_features)``: the rows by cluster.
    middle
        float32 ``(n_features,)``: their median.
    names
        int32: the clusters as members of the blocks of centers.
    metric
        ``euclidean`` or ``cosine``.
    """

    clusters: Clusters
    rows: NDArray[np.float32]
    middle: NDArray[np.float32]
    names: NDArray[np.int32]
    metric: str

    @classmethod
    def build(cls, rows: NDArray[np.floating], metric: str, seed: int, n_jobs: int) -> Index:
        """Cluster rows ``(n, n_features)``."""
        points = coordinates(rows, metric)
        around, middle = centred(points)
        n_rows = len(points)
        n_clusters = max(1, min(n_rows // MEMBERS, int(CLUSTERS_PER_ROOT * n_rows**0.5)))
        clusters = around_centers(cluster(around, n_clusters, seed, n_jobs))
        names = np.arange(clusters.centers_in_blocks.half_norms.size, dtype=np.int32).reshape(-1, WIDTH)
        return cls(clusters, points[clusters.order], middle, names, metric)

    def neighbors(self, k: int, n_probe: int, *, n_jobs: int = 1) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return indices and distances ``(n, k)`` of neighbours of each row, itself left out, nearest first.

        Where there are too few rows: -1 and infinity.
        """
        order, edges = self.clusters.order, self._batches()
        found, sums = np.empty((len(order), k), np.int32), np.empty((len(order), k), np.float32)
        args = self.clusters, self.rows, self._enough(n_probe, k), self.names, edges
        over_rows(lambda start, stop: probe(*args, start, stop, found, sums), len(edges) - 1, n_jobs, chunk=1)
        better, closer = np.empty_like(found), np.empty_like(sums)
        over_rows(
            lambda start, stop: sweep(self.rows, order, found, sums, start, stop, better, closer), len(order), n_jobs
        )
        self._complete(self.rows, np.arange(len(order)), better, closer, n_jobs)
        found[order], sums[order] = self._named(better), closer
        return found, distances(sums, self.metric)

    def query(
        self, rows: NDArray[np.floating], k: int, n_probe: int, *, n_jobs: int = 1
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return indices and distances ``(m, k)`` of neighbours of other rows, each a function of its row alone."""
        given = coordinates(rows, self.metric)
        with np.errstate(over="ignore"):
            around = given - self.middle
        found, sums = np.empty((len(given), k), np.int32), np.empty((len(given), k), np.float32)
        args = self.clusters, self.rows, given, around, self._enough(n_probe, k), self.names
        over_rows(lambda start, stop: place(*args, start, stop, found, sums), len(given), n_jobs)
        self._complete(given, None, found, sums, n_jobs)
        return self._named(found), distances(sums, self.metric)

    def _enough(self, n_probe: int, k: int) -> int:
        return min(max(n_probe, 2 * k // MEMBERS + 1), len(self.clusters.centers))

    def _complete(
        self,
        points: NDArray[np.float32],
        own: NDArray[np.integer] | None,
        found: NDArray[np.int32],
        sums: NDArray[np.float32],
        n_jobs: int,
    ) -> None:
        """Scan all rows for those that found too few."""
        wanted = min(found.shape[1], len(self.rows) - (own is not None))
        short = np.flatnonzero(found[:, wanted - 1 : wanted] < 0)
        if len(short):
            by_name = np.argsort(self.clusters.order).astype(np.int32)
            reference = Reference.pack(self.rows[by_name], EUCLIDEAN)
            names = None if own is None else self.clusters.order[own[short]]
            named, sums[short] = nearest_sums(reference, points[short], found.shape[1], own=names, n_jobs=n_jobs)
            found[short] = np.where(named < 0, -1, by_name[named])

    def _named(self, found: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.where(found < 0, np.int32(-1), self.clusters.order[found])

    def _batches(self) -> NDArray[np.int64]:
        """Return the first cluster of each batch."""
        n_blocks = self.clusters.first[-1]
        at_once = min(BLOCKS_AT_ONCE, n_blocks // 16 + 1)
        cuts = np.searchsorted(self.clusters.first, np.arange(0, n_blocks, at_once))
        return np.unique(np.append(cuts, len(self.clusters.centers)))
