"""The affinities of t-SNE alone: ours and openTSNE's from the same 90 neighbours, both compiled, in turn.

python benchmarks/affinities.py

Fashion-MNIST, perplexity 30. The weights are compared one by one, where openTSNE's own rows have the entropy asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from data import fashion
from openTSNE.affinity import joint_probabilities_nn
from scipy import sparse

from vicinal.api import Graph, GraphRequest, KnnRequest
from vicinal.kernels.processors import available_threads
from vicinal.plugin.manager import get_manager

REPEATS = 5
PERPLEXITY = 30.0
K = 90


def backend(stage: str, name: str, **params):  # type: ignore[no-untyped-def]
    entry = get_manager().resolve(stage, name)
    return get_manager().load(entry)(entry.spec.params(**params))


def main() -> None:
    threads = available_threads()
    rows = fashion()
    request = KnnRequest(representation=rows, k=K, n_obs=len(rows), n_jobs=threads)
    found = backend("knn", "exact").build(request).neighbors()

    def ours(n_jobs: int) -> Graph:
        graph = backend("graph", "perplexity", perplexity=PERPLEXITY)
        return graph.build(GraphRequest(n_obs=found.n_obs, neighbors=found, n_jobs=n_jobs))

    def theirs(symmetrize: bool = True) -> sparse.csr_matrix:
        # It may sort the indices it is given.
        table = (found.indices.copy(), found.distances)
        return joint_probabilities_nn(*table, [PERPLEXITY], symmetrize=symmetrize, n_jobs=threads)

    runs: dict[str, Callable[[], object]] = {
        f"vicinal, {n_jobs} threads": lambda n_jobs=n_jobs: ours(n_jobs) for n_jobs in sorted({1, threads})
    }
    runs["openTSNE"] = theirs
    wall, cpu = dict.fromkeys(runs, np.inf), dict.fromkeys(runs, np.inf)
    for _ in range(REPEATS + 1):  # the first compiles
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            wall[name] = min(wall[name], time.perf_counter() - start[0])
            cpu[name] = min(cpu[name], time.process_time() - start[1])
    for name in runs:
        print(f"{name:<20} {wall[name]:6.3f} s, CPU {cpu[name]:6.3f} s")
    compare(ours(threads).to_scipy(), sparse.csr_matrix(theirs()), sparse.csr_matrix(theirs(symmetrize=False)))


def compare(found: sparse.csr_matrix, expected: sparse.csr_matrix, own: sparse.csr_matrix) -> None:
    expected.sort_indices()
    weights = own.data.reshape(-1, K) * own.shape[0]
    entropy = -np.where(weights > 0, weights * np.log(np.maximum(weights, 1e-300)), 0).sum(axis=1)
    missed = np.abs(entropy - np.log(PERPLEXITY)) > 1e-7
    owners = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
    met = ~missed[owners] & ~missed[found.indices]
    apart = np.abs(found.data / expected.data - 1)
    most = np.abs(entropy - np.log(PERPLEXITY)).max()
    print(f"{found.nnz:,} edges; openTSNE misses the entropy of {missed.sum():,} cells, by {most:.2g} at most")
    print(f"largest relative difference of a weight: {apart[met].max():.1e} among the others, {apart.max():.1e} of all")


if __name__ == "__main__":
    main()
