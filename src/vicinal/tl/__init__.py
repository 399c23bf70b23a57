"""Tools: make, score, save and reuse maps."""

from __future__ import annotations

from .embed import embed
from .methods import tsne, umap
from .plan import plan
from .project import project
from .reconstruct import reconstruct
from .represent import represent
from .rerun import rerun
from .score import score
from .spectrum import spectrum
from .start import EmbedRun, start
from .update import update

__all__ = [
    "EmbedRun",
    "embed",
    "plan",
    "project",
    "reconstruct",
    "represent",
    "rerun",
    "score",
    "spectrum",
    "start",
    "tsne",
    "umap",
    "update",
]


def __dir__() -> list[str]:
    return sorted(__all__)
