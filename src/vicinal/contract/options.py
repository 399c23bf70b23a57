"""What the user asked for, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Unset(str):
    """A default that compares as its text but can be told from the same text given by the user."""

    __slots__ = ()


EUCLIDEAN = Unset("euclidean")


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """The arguments of `vicinal.tl.embed`; see there for their meaning."""

    method: str = "umap"
    n_components: int = 2
    n_neighbors: int | None = None
    neighbors_key: str | None = None
    use_rep: str | None = None
    n_pcs: int | None = None
    metric: str | Callable[..., float] = EUCLIDEAN
    metric_kwds: Mapping[str, Any] | None = None
    knn: Any = "auto"
    graph: Any = "auto"
    init: Any = "auto"
    objective: Any = "auto"
    optimizer: Any = "auto"
    min_dist: float | None = None
    spread: float | None = None
    n_epochs: int | Sequence[int] | None = None
    phases: Sequence[Mapping[str, Any]] | None = None
    random_state: int = 0
    n_jobs: int | None = None
    key_added: str | None = None
    fixed: Any = None
    labels: str | None = None
    callbacks: Any = ()
    checkpoint: Any = None
    checkpoint_every: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def collect(cls, method: str, given: Mapping[str, Any]) -> EmbedOptions:
        """Sort keyword arguments into the named options and backend parameters."""
        named = {f.name for f in dataclasses.fields(cls)} - {"params", "method"}
        known = {name: value for name, value in given.items() if name in named}
        return cls(method=method, params={k: v for k, v in given.items() if k not in named}, **known)

    @property
    def fresh_neighbors(self) -> tuple[str, ...]:
        """Names of the given arguments that ask for neighbours computed afresh."""
        asked = {
            "n_neighbors": self.n_neighbors is not None,
            "use_rep": self.use_rep is not None,
            "n_pcs": self.n_pcs is not None,
            "metric": not isinstance(self.metric, Unset),
            "knn": not (isinstance(self.knn, str) and self.knn == "auto"),
            "graph": not (isinstance(self.graph, str) and self.graph == "auto"),
        }
        return tuple(name for name, was_given in asked.items() if was_given)


def param_of(params: Mapping[str, Any], wanted: str) -> Any:
    """Return what was given for a backend's parameter, by its name or as ``stage__name``; None for nothing."""
    given = [value for name, value in params.items() if name.rpartition("__")[2] == wanted and value is not None]
    return given[0] if given else None
