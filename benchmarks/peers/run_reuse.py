"""One tool that fits a map and places new rows: python run_reuse.py TOOL IN.npz OUT.npz [MAP.npz ...].

IN holds ``reference`` and ``new``, the ``seed`` of the map, and as JSON what ``vicinal.tl.embed`` is to be given
besides (``embed``). The fit is not timed. Each MAP.npz is another tool's map of the same rows, into which the new rows
are placed as well, where the tool can be given one: OUT then holds ``places_1`` and so on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

N_ALONE, MIN_DIST = 20, 0.1
Place = Callable[[np.ndarray], np.ndarray]


@dataclass
class Fitted:
    """A map, how rows are placed into it, or into another map, its curve where it has one, and a second way."""

    layout: np.ndarray
    place: Place
    into: Callable[..., Place] | None = None
    curve: tuple[float, float] = (0.0, 0.0)
    also: Place | None = None


def embedded(reference: np.ndarray, method: str, asked: dict[str, Any]) -> Any:
    """Return an AnnData with a map, and its model."""
    import anndata as ad

    import vicinal as vc
    from vicinal.adata.model import model_from_adata

    cells = ad.AnnData(np.zeros((len(reference), 1), np.float32), obsm={"X_pca": reference})
    vc.tl.embed(cells, method, **asked)
    return cells.obsm[f"X_{method}"], model_from_adata(cells)


def vicinal(reference: np.ndarray, seed: int, **asked: Any) -> Fitted:
    from vicinal.adata.adopt import STUDENT, STUDENT_STEPS
    from vicinal.models import inference
    from vicinal.models.store import from_reference

    own, model = embedded(reference, "umap", {"min_dist": MIN_DIST, "random_state": seed, **asked})
    params = model.manifest.params

    def into(layout: np.ndarray, curve: tuple[float, float]) -> Place:
        import dataclasses

        given, placement = dict(zip("ab", curve, strict=True)), model.manifest.placement
        if not any(curve):  # as vicinal.models.adopt does with a map of t-SNE
            given, placement = STUDENT, {**placement, "n_steps": STUDENT_STEPS}
        handle = dataclasses.replace(model.manifest, params={**params, **given}, placement=placement)
        other = from_reference(handle, reference, layout.astype(np.float32))
        return lambda rows: inference.place(other, rows)

    place: Place = lambda rows: inference.place(model, rows)  # noqa: E731
    return Fitted(own, place, into, (params["a"], params["b"]))


def vicinal_tsne(reference: np.ndarray, seed: int, **asked: Any) -> Fitted:
    from vicinal.models import inference

    own, model = embedded(reference, "tsne", {"random_state": seed, **asked})
    return Fitted(own, lambda rows: inference.place(model, rows))


def umap_learn(reference: np.ndarray, seed: int, **_: Any) -> Fitted:
    import umap

    mapper = umap.UMAP(min_dist=MIN_DIST, random_state=seed).fit(reference)
    own = mapper.embedding_.copy()

    def placing(layout: np.ndarray) -> Place:
        def place(rows: np.ndarray) -> np.ndarray:
            mapper.embedding_ = layout.astype(np.float32)
            return np.asarray(mapper.transform(rows))

        return place

    return Fitted(own, placing(own), lambda layout, curve: placing(layout), (mapper._a, mapper._b))


def opentsne(reference: np.ndarray, seed: int, **_: Any) -> Fitted:
    import openTSNE

    fitted = openTSNE.TSNE(random_state=seed, n_jobs=-1).fit(reference)
    fitted.transform(reference[:2])  # moves the map's middle, for good

    def median(rows: np.ndarray) -> np.ndarray:
        return np.array(fitted.prepare_partial(rows, initialization="median", k=25, perplexity=5))

    return Fitted(np.array(fitted), lambda rows: np.array(fitted.transform(rows)), also=median)


def ingest(reference: np.ndarray, seed: int, **_: Any) -> Fitted:
    import anndata as ad
    import scanpy as sc

    mapped = ad.AnnData(reference)
    sc.pp.neighbors(mapped, use_rep="X")
    sc.tl.umap(mapped, min_dist=MIN_DIST, random_state=seed)

    def place(rows: np.ndarray) -> np.ndarray:
        cells = ad.AnnData(rows)
        sc.tl.ingest(cells, mapped, embedding_method="umap")
        return np.asarray(cells.obsm["X_umap"])

    params = mapped.uns["umap"]["params"]
    return Fitted(mapped.obsm["X_umap"], place, curve=(params["a"], params["b"]))


TOOLS = {f.__name__: f for f in (vicinal, vicinal_tsne, umap_learn, opentsne, ingest)}


def timed(place: Place, rows: np.ndarray) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    places = place(rows)
    return time.perf_counter() - start, places


def largest_move(place: Place, rows: np.ndarray, places: np.ndarray, layout: np.ndarray) -> float:
    """Return the farthest that a row lands elsewhere alone, in half the batch or in another order, in map widths."""
    few = np.linspace(0, len(rows) - 1, N_ALONE).astype(int)
    alone = np.vstack([place(rows[[i]]) for i in few])
    half, turned = place(rows[::2]), place(rows[::-1])[::-1]
    moves = [alone - places[few], half - places[::2], turned - places]
    return max(float(np.linalg.norm(move, axis=1).max()) for move in moves) / float(np.ptp(layout, axis=0).max())


def main(tool: str, given: str, out: str, *maps: str) -> None:
    data = np.load(given)
    reference, rows = data["reference"], data["new"]
    fitted = TOOLS[tool](reference, int(data["seed"]), **json.loads(str(data["embed"])))
    cold, _ = timed(fitted.place, rows)
    warm, places = timed(fitted.place, rows)
    found = {"layout": fitted.layout, "curve": np.array(fitted.curve), "cold": cold, "places": places}
    found |= {"warm": warm, "move": largest_move(fitted.place, rows, places, fitted.layout)}
    if fitted.also is not None:
        found["warm_also"], found["places_also"] = timed(fitted.also, rows)
    for i, path in enumerate(maps if fitted.into is not None else (), 1):
        other = np.load(path)
        found[f"warm_{i}"], found[f"places_{i}"] = timed(fitted.into(other["layout"], tuple(other["curve"])), rows)
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
