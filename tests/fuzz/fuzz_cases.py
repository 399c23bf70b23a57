"""What is tried: each kind is a function that alters something by a seed and gives it to vicinal."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
from fuzz_bases import (
    EPOCHS,
    METHODS,
    OPTIONS,
    N,
    Say,
    cells,
    checkpoint_of,
    entry_of,
    finite,
    forged,
    mapped,
    model_of,
    npy,
    started,
)
from fuzz_doors import sparse_matrix
from fuzz_sparse import broken
from fuzz_values import OF_PYTHON, PLAIN, altered, altered_array, altered_bytes, told
from scipy import sparse

import vicinal as vc
from vicinal.adata.paga import links_between
from vicinal.models.manifest import _fingerprint


def _altered_file(base: tuple[Any, dict[str, np.ndarray]], draw: random.Random, say: Say) -> bytes:
    """Return a file with another manifest, other arrays, or other bytes."""
    manifest, arrays = copy.deepcopy(base[0]), dict(base[1])
    what = draw.choices(["manifest", "arrays", "bytes"], [6, 5, 2])[0]
    if what == "bytes":
        content, done = altered_bytes(forged(manifest, arrays), draw)
        say(done)
        return content
    if what == "arrays":
        for _ in range(draw.choice([1, 1, 2])):
            name = draw.choice(sorted(arrays))
            arrays[name], done = altered_array(arrays[name], draw)
            say(f"{name} {done}")
        if draw.random() < 0.1:
            say(f"without {name}")
            del arrays[name]
        return forged(manifest, arrays)
    for _ in range(draw.choice([1, 1, 1, 2])):
        manifest, done = altered(manifest, draw)
        say(done)
        if not isinstance(manifest, dict):
            break
    return forged(manifest, arrays, describe=False)


def model(draw: random.Random, say: Say) -> Any:
    method = draw.choice(METHODS)
    say(method)
    content = _altered_file(model_of(method), draw, say)
    _write("file", content)
    loaded = vc.models.load("file")
    return _use(loaded, draw, say)


def _use(loaded: Any, draw: random.Random, say: Say) -> Any:
    """Do with a model what a user does."""
    use = draw.choice(["project", "project genes", "update", "save", "represent", "init", "reconstruct"])
    say(use)
    new = cells()
    if use in ("project", "project genes"):
        vc.tl.project(new, loaded, n_jobs=1, use_rep="X" if use == "project genes" else None, key_added="map")
    elif use == "update":
        joint = ad.concat([cells(), cells()], keys=["old", "new"], index_unique="-")
        joint.obs_names = [*cells().obs_names, *[f"new{i}" for i in range(N)]]
        vc.tl.update(joint, loaded, n_epochs=2, n_jobs=1, key_added="map")
        new = joint
    elif use == "save":
        vc.models.save(loaded, "file")
    elif use == "represent":
        vc.tl.represent(new, loaded)
    elif use == "reconstruct":
        vc.tl.reconstruct(new, loaded)
    else:
        vc.tl.embed(new, init=loaded, key_added="map", **OPTIONS)
    return finite(new, "map")


def checkpoint(draw: random.Random, say: Say) -> Any:
    method = draw.choice(METHODS[:2])
    say(method)
    content = _altered_file(checkpoint_of(method), draw, say)
    _write("file", content)
    run = started(method)
    run.resume("file")
    run.finish()
    return None if np.isfinite(run.layout).all() else "a map that is not finite"


def handle(draw: random.Random, say: Say) -> Any:
    method = draw.choice(METHODS)
    say(method)
    adata = mapped(method)
    held = adata.uns[method]["model"]
    what = draw.choice(["manifest", "arrays", "handle"])
    if what == "manifest" or (what == "arrays" and "arrays" not in held):
        manifest, done = altered(json.loads(held["manifest"]), draw)
        if isinstance(manifest, dict):
            manifest["fingerprint"] = _fingerprint(manifest)
        held["manifest"] = json.dumps(manifest)
    elif what == "arrays":
        arrays = dict(held["arrays"])
        name = draw.choice(sorted(arrays))
        arrays[name], done = altered_array(arrays[name], draw, in_memory=True)
        done = f"{name} {done}"
        if isinstance(arrays[name], np.ndarray) and draw.random() < 0.8 and arrays[name].dtype.kind in "biuf":
            manifest = json.loads(held["manifest"])
            manifest["arrays"][name] = entry_of(name, arrays[name], npy(arrays[name]))
            manifest["fingerprint"] = _fingerprint(manifest)
            held["manifest"] = json.dumps(manifest)
        held["arrays"] = arrays
    else:
        entry, done = altered({"model": held}, draw, in_memory=True)
        adata.uns[method] = {**adata.uns[method], **entry} if isinstance(entry, dict) else entry
    say(done)
    return _use(adata, draw, say)


def record(draw: random.Random, say: Say) -> Any:
    method = draw.choice(METHODS[:2])
    adata = mapped(method)
    entry = dict(adata.uns[method])
    what = draw.choice(["arguments", "entry", "entry", "neighbors", "phases"])
    say(f"{method} {what}")
    if what == "arguments":
        given, done = altered(json.loads(entry["arguments"]), draw)
        entry["arguments"] = json.dumps(given)
    elif what == "phases":
        field = draw.choice(["phases", "sub_plans", "metric_kwds", "random_state", "layout_epoch", "n_epochs"])
        value = draw.choice(PLAIN + OF_PYTHON)()
        value = json.dumps(value) if draw.random() < 0.5 and _is_json(value) else value
        entry["params"], done = {**entry["params"], field: value}, f"params[{field!r}] = {told(value)}"
    elif what == "neighbors":
        adata.uns["neighbors"], done = altered(dict(adata.uns["neighbors"]), draw, in_memory=True)
    else:
        entry, done = altered(entry, draw, in_memory=True)
    say(done)
    adata.uns[method] = entry
    return _use_record(adata, method, draw, say)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _use_record(adata: ad.AnnData, key: str, draw: random.Random, say: Say) -> Any:
    use = draw.choice(["rerun", "rerun", "rerun", "loss", "project", "adopt", "score", "embed", "plan", "again"])
    say(use)
    if use == "rerun":
        vc.tl.rerun(adata, key, key_added="map", n_jobs=1)
    elif use == "loss":
        _drawn(vc.pl.loss(adata, show=False))
    elif use == "project":
        vc.tl.project(adata, adata, key_added="map", n_jobs=1)
    elif use == "adopt":
        vc.models.adopt(adata, f"X_{key}", key_added=draw.choice([None, "other"]))
    elif use == "score":
        vc.tl.score(adata, key, n_jobs=1)
    elif use == "plan":
        vc.tl.plan(adata, n_jobs=1)
    elif use == "again":
        vc.tl.embed(adata, init=f"X_{key}", **OPTIONS)
    else:
        vc.tl.embed(adata, n_epochs=3, n_jobs=1, key_added="map")
    return finite(adata, "map")


def _drawn(ax: Any) -> None:
    import matplotlib.pyplot as plt

    ax.figure.canvas.draw()
    plt.close(ax.figure)


def paga(draw: random.Random, say: Say) -> Any:
    adata = cells()
    codes = np.minimum(np.arange(N) % 4, 2).astype(np.int32)
    adata.obs["group"] = np.array(["a", "b", "c"])[codes]
    links = links_between(codes, 3, adata.obsp["connectivities"])
    held = {"pos": np.arange(6.0).reshape(3, 2), "groups": "group", "connectivities": sparse.csr_matrix(links)}
    sizes = np.bincount(codes)
    what = draw.choice(["entry", "pos", "connectivities", "sizes"])
    if what == "connectivities":
        held[what], done = broken(held[what], draw, ["csr", "csc", "coo"])
    elif what == "pos":
        held[what], done = altered_array(held[what], draw, in_memory=True)
    elif what == "sizes":
        sizes, done = altered_array(sizes, draw, in_memory=True)
    else:
        held, done = altered(held, draw, in_memory=True)
    say(f"{what} {done}")
    adata.uns |= {"paga": held, "group_sizes": sizes}
    vc.tl.embed(adata, init="paga", **EPOCHS)
    return finite(adata, "map")


KINDS: dict[str, Callable[[random.Random, Say], Any]] = {
    "model": model,
    "checkpoint": checkpoint,
    "handle": handle,
    "record": record,
    "paga": paga,
    "sparse": sparse_matrix,
}


def warm_up() -> None:
    """Compile and load what the cases use."""
    for method in METHODS:
        for use in ("project", "project genes", "update", "save", "represent", "init"):
            draw = random.Random(0)
            draw.choice = lambda _, use=use: use  # type: ignore[method-assign, assignment]
            try:
                _use(mapped(method), draw, lambda _: None)
            except vc.api.VicinalError:
                pass
    for method in METHODS[:2]:
        checkpoint_of(method)
        started(method).finish()
        adata = mapped(method)
        vc.tl.rerun(adata, method, n_jobs=1)
        vc.tl.score(adata, method, n_jobs=1)
        _drawn(vc.pl.loss(adata, method, show=False))
        vc.models.adopt(adata, f"X_{method}", key_added="other")
        model_of(method)
    model_of("network")


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
