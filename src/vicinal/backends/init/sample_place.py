"""A good map of a sample first, every other cell beside its nearest cells of the sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_count, require_number, require_one_of
from vicinal.contract.data import Layout, Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import child_seed, generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import SubMap

from .sampling import DENSITY, SAMPLINGS, draw_sample, shares

LARGEST_DEFAULT_SAMPLE = 25_000
DEFAULT_SHARE = 4
FEWEST_BY_DEFAULT = 50
DEFAULT_PLACE_NEIGHBORS = 5
CHUNK = 50_000

OWN = {"method": "sample_method", "n_neighbors": "sample_n_neighbors"}
OF_THE_WHOLE = {"n_components", "use_rep", "n_pcs", "neighbors_key", "key_added", "fixed", "copy"} | {
    "labels",
    "callbacks",
    "checkpoint",
    "checkpoint_every",
}

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class SamplePlaceParams:
    """Parameters of the sample, of its map, and of the placement.

    Attributes
    ----------
    sample_size
        Cells in the sample; None for a quarter of all, at most 25,000.
    sampling
        ``"uniform"``, or ``"density"``: cells of sparse regions more likely, so that rare states are not lost.
    sample_by
        Column of ``obs`` whose groups are sampled each in proportion to its size, at least one cell of each.
    sample_method
        Method the sample is mapped by; None for the one of the whole map.
    sample_n_neighbors
        Neighbours of each cell in the sample, the cell itself counted; None for the method's own number, which in a
        sample reaches as far as many times as many do among all cells.
    sample_params
        Other arguments of `vicinal.tl.embed` for the map of the sample, such as ``{"n_epochs": 1000}``. It starts
        from principal components unless ``"init"`` says otherwise, and has the objective, the optimizer and their
        parameters of the whole map, where the method is the same. Labels are of the whole map alone: the sample is
        mapped without them.
    place_neighbors
        Cells of the sample, the nearest ones, that place a cell; None for 5, or all where they are fewer.
    place_by
        ``"median"`` of their places, coordinate by coordinate, or ``"mean"``, weighted as in the fuzzy graph.
    place_jitter
        Standard deviation of the noise added to placed cells, in distances between cells of the sample: the root
        of the area of their map over their number.
    """

    sample_size: int | None = None
    sampling: str = "uniform"
    sample_by: str | None = None
    sample_method: str | None = None
    sample_n_neighbors: int | None = None
    sample_params: Mapping[str, Any] = field(default_factory=dict)
    place_neighbors: int | None = None
    place_by: str = "median"
    place_jitter: float = 0.3

    def __post_init__(self) -> None:
        for name in ("sample_size", "sample_n_neighbors", "place_neighbors"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        require_number("place_jitter", self.place_jitter, low=0)
        require_one_of("sampling", self.sampling, SAMPLINGS)
        require_one_of("place_by", self.place_by, ("median", "mean"))
        if not isinstance(self.sample_params, Mapping):
            given = type(self.sample_params).__name__
            raise InputError(f"sample_params is a {given}; give a dict of arguments, such as {{'n_epochs': 1000}}")
        for name, value in self.sample_params.items():
            if name in OWN:
                raise InputError(f"sample_params holds {name!r}; give {OWN[name]}= instead")
            if not isinstance(name, str) or name in OF_THE_WHOLE or isinstance(value, tuple | np.ndarray):
                msg = f"sample_params holds {name!r}, which belongs to the whole map or is of its cells"
                raise InputError(f"{msg}; give arguments such as n_epochs, min_dist, init or learning_rate")


class Backend:
    """Sample, embed, place: the large-data workflow of openTSNE, for any method.

    Kobak and Berens 2019 (doi:10.1038/s41467-019-13056-x): a small sample can be given a wide neighbourhood, which
    keeps its global structure, and the rest starts beside its nearest cells of the sample.
    """

    def __init__(self, params: SamplePlaceParams) -> None:
        self.params = params

    def sub_maps(self, n_obs: int, arrays: Mapping[str, np.ndarray]) -> list[SubMap]:
        """Return the map that `place` will ask for, so that it can be planned before any work.

        Raises
        ------
        InputError
            If the sample, or a neighbourhood in it, is larger than what it is taken from, or has no cell for a group.
        """
        size = self._sample_size(n_obs)
        if "sample_groups" in arrays:
            shares(np.bincount(arrays["sample_groups"]), size)
        neighbors = self.params.sample_n_neighbors
        if neighbors is not None and not 2 <= neighbors < max(size, 3):
            msg = f"sample_n_neighbors={neighbors} is not allowed in a sample of {size} cells; give 2 to {size - 1}"
            raise InputError(f"{msg}, or a larger sample_size")
        if (self.params.place_neighbors or 0) > size:
            msg = f"place_neighbors={self.params.place_neighbors} is more than the sample of {size} cells has"
            raise InputError(f"{msg}; give at most {size}, or a larger sample_size")
        arguments = {"init": "pca", **self.params.sample_params}
        if neighbors is not None:
            arguments["n_neighbors"] = neighbors
        if self.params.sample_method is not None:
            arguments["method"] = self.params.sample_method
        return [SubMap(n_obs=size, arguments=arguments)]

    def place(self, request: InitRequest) -> Layout:
        """Return the map of the sample, and around it all other cells."""
        rows, host = request.representation, request.host
        assert rows is not None
        assert host is not None
        (planned,) = self.sub_maps(len(rows), request.arrays)
        # What was left open is recorded as it was used.
        self.sample_size = planned.n_obs
        self.place_neighbors = self.params.place_neighbors or min(DEFAULT_PLACE_NEIGHBORS, planned.n_obs)
        sample = draw_sample(request, planned.n_obs, by_density=self.params.sampling == DENSITY)
        logger.info("sample_place: a map of %d cells, then %d beside them", len(sample), len(rows) - len(sample))
        places = host.embed(rows[sample], planned.arguments)
        layout, chosen = self._place_others(request, sample, places)
        host.keep("sample", chosen)
        host.keep("placement", layout)
        return layout

    def _sample_size(self, n_obs: int) -> int:
        size = self.params.sample_size
        if size is None:
            return min(LARGEST_DEFAULT_SAMPLE, max(n_obs // DEFAULT_SHARE, min(n_obs, FEWEST_BY_DEFAULT)))
        if size > n_obs:
            msg = f"sample_size={size} is more than the {n_obs} cells there are; give at most {n_obs}, or leave it out"
            raise InputError(msg)
        return int(size)

    def _place_others(
        self, request: InitRequest, sample: NDArray[np.intp], places: Layout
    ) -> tuple[Layout, NDArray[np.bool_]]:
        """Return all places, and which cells are of the sample."""
        rows, host = request.representation, request.host
        assert rows is not None
        assert host is not None
        layout = np.empty((len(rows), request.n_components), dtype=np.float32)
        layout[sample] = places
        chosen = np.zeros(len(rows), dtype=bool)
        chosen[sample] = True
        others = np.flatnonzero(~chosen)
        if len(others):
            k, index = self.place_neighbors, host.index(rows[sample], self.place_neighbors)
            for part in np.array_split(others, -(-len(others) // CHUNK)):
                layout[part] = self._between(index.query(rows[part], k), places)
            layout[others] += self._noise(request, places, len(others))
        return layout, chosen

    def _between(self, neighbors: Neighbors, places: Layout) -> NDArray[np.floating]:
        """Return the places of cells among those of their neighbours; without any, in the middle of all."""
        if self.params.place_by == "mean":
            from vicinal.kernels.placement import weighted_means

            between = np.empty((neighbors.n_obs, places.shape[1]), dtype=np.float32)
            weighted_means(neighbors.indices, neighbors.distances, places, 0, neighbors.n_obs, between)
        else:
            known = neighbors.indices >= 0
            near = places[np.where(known, neighbors.indices, 0)]
            if known.all():
                return np.median(near, axis=1)
            near[~known] = np.nan
            between = np.full((neighbors.n_obs, places.shape[1]), np.nan, dtype=np.float32)
            between[known.any(axis=1)] = np.nanmedian(near[known.any(axis=1)], axis=1)
        return np.where(np.isnan(between), np.median(places, axis=0), between)

    def _noise(self, request: InitRequest, places: Layout, n_placed: int) -> NDArray[np.float64]:
        sides = places.max(axis=0).astype(np.float64) - places.min(axis=0)
        spacing = (np.prod(sides) / len(places)) ** (1 / len(sides))
        draw = generator(child_seed(request.seed, "place"))
        return draw.normal(scale=self.params.place_jitter * spacing, size=(n_placed, len(sides)))


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="sample_place",
    target="vicinal.backends.init.sample_place:Backend",
    summary="A map of a sample, every other cell placed by its nearest cells in it",
    params=SamplePlaceParams,
    capabilities=Capabilities(inputs=("representation",), deterministic=True),
    cite=("Kobak & Berens 2019, doi:10.1038/s41467-019-13056-x",),
)
