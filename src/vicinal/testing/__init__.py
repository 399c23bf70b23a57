"""Conformance kit for authors of backends: one class a stage, to be subclassed in a pytest file.

A backend's test file needs three lines::

    from vicinal.testing import KnnConformance
    from my_package import SPEC


    class TestMyIndex(KnnConformance):
        spec = SPEC

Class attributes and methods of each class say what may be adapted, such as the recall an approximate index
promises. A check that cannot hold for a backend is switched off in the open: ``test_name = None``.
"""

from __future__ import annotations

import pytest

_PARTS = ("base", "data", "knn", "graph", "init", "objective", "optimizer", "score", "network")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from .base import Conformance  # noqa: E402  asserts are rewritten only in modules imported after the call above
from .data import blobs, brute_force, knn_graph, read_only, ring_graph, score_request  # noqa: E402
from .graph import GraphConformance  # noqa: E402
from .init import InitConformance  # noqa: E402
from .knn import KnnConformance  # noqa: E402
from .network import NetworkConformance  # noqa: E402
from .objective import ObjectiveConformance  # noqa: E402
from .optimizer import OptimizerConformance  # noqa: E402
from .score import ScoreConformance  # noqa: E402

CONFORMANCE: dict[str, type[Conformance]] = {
    "knn": KnnConformance,
    "graph": GraphConformance,
    "init": InitConformance,
    "objective": ObjectiveConformance,
    "optimizer": OptimizerConformance,
    "score": ScoreConformance,
    "network": NetworkConformance,
}
"""Stage to its conformance class."""

__all__ = [
    "CONFORMANCE",
    "Conformance",
    "GraphConformance",
    "InitConformance",
    "KnnConformance",
    "NetworkConformance",
    "ObjectiveConformance",
    "OptimizerConformance",
    "ScoreConformance",
    "blobs",
    "brute_force",
    "knn_graph",
    "read_only",
    "ring_graph",
    "score_request",
]
