"""The public conformance kit on every built-in backend: a new one is covered as soon as it is listed."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import vicinal.backends
from vicinal.backends import MODULES
from vicinal.testing import CONFORMANCE, GraphConformance, KnnConformance, brute_force


class GivenNeighbors(KnnConformance):
    """Finds nothing itself: it is given the tables it must hand on."""

    def build(self, rows, k, *, metric="euclidean", seed=0, n_jobs=1):
        table = brute_force(rows, k, metric)
        self.params = {"indices": table.indices, "distances": table.distances}
        return super().build(rows, k, metric=metric, seed=seed, n_jobs=n_jobs)


class ScikitLearnTransformer(KnnConformance):
    """Works through the estimator it is given."""

    def build(self, rows, k, *, metric="euclidean", seed=0, n_jobs=1):
        from sklearn.neighbors import KNeighborsTransformer

        self.params = {"estimator": KNeighborsTransformer(n_neighbors=max(k, 1), metric=metric)}
        return super().build(rows, k, metric=metric, seed=seed, n_jobs=n_jobs)


class Edgeless(GraphConformance):
    """Joins no cells, whatever their neighbours."""

    def test_every_cell_with_neighbors_has_an_edge(self):
        assert len(self.exercise().indices) == 0


SPECIAL = {"given": GivenNeighbors, "transformer": ScikitLearnTransformer, "edgeless": Edgeless}
ADAPTED: dict[str, dict[str, Any]] = {
    "exact": {"metrics": ("euclidean", "cosine", "manhattan")},
    "ivf": {"metrics": ("euclidean", "cosine")},
    "pynndescent": {"recall": 0.95},
    "perplexity": {"k": 60},
    "fixed_sigma": {"params": {"sigma": 2.0}},
}
"""What the classes are told about a backend that differs from their defaults."""

SPECS = [module.SPEC for module in MODULES]


def conformance_of(spec):
    base = SPECIAL.get(spec.name, CONFORMANCE[spec.stage])
    return type(f"Test_{spec.stage}_{spec.name}", (base,), {"spec": spec, **ADAPTED.get(spec.name, {})})


globals().update({made.__name__: made for made in map(conformance_of, SPECS)})


def test_every_built_in_backend_has_a_class_here():
    covered = {value.spec for value in globals().values() if isinstance(value, type) and hasattr(value, "spec")}
    assert covered == set(SPECS)


def test_every_backend_file_is_listed():
    folder = Path(vicinal.backends.__file__).parent
    files = {path.relative_to(folder).with_suffix("") for path in folder.glob("*/*.py") if _names_a_spec(path)}
    listed = {Path(module.__file__).relative_to(folder).with_suffix("") for module in MODULES}
    assert files == listed


def _names_a_spec(path):
    names = [
        target for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign) for target in node.targets
    ]
    return any(isinstance(name, ast.Name) and name.id == "SPEC" for name in names)
