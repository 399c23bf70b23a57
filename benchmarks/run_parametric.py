"""One map of ours and the places of new rows, in this process: python run_parametric.py IN.npz OUT.npz SEED ARGUMENTS.

IN.npz holds `rows` and `new`, OUT.npz gets `train` and `new`, ARGUMENTS are those of `vc.tl.embed` as JSON. Prints
SECONDS of embed and of project, MEMORY held before and at most (bytes), and STAGES, the seconds of each, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anndata as ad
import numpy as np
from data import as_cells
from peers.peak import most, watch

import vicinal as vc

METHOD, KEY = "parametric_umap", "map"


def load(few: ad.AnnData, arguments: dict[str, Any]) -> None:
    """Import what a map would import while it is made, so that importing is in the process's seconds alone."""
    import numba  # noqa: F401

    if arguments["method"] == METHOD:
        import torch  # noqa: F401

        import vicinal_torch.optimization  # noqa: F401
    vc.tl.plan(few, **arguments)  # the chosen backends


def main(given_file: str, out_file: str, seed: str, given_arguments: str) -> None:
    given = np.load(given_file)
    adata, new = as_cells(given["rows"]), as_cells(given["new"])
    arguments = {"method": METHOD, **json.loads(given_arguments), "random_state": int(seed)}
    if "torch_optimizer" in arguments:
        import torch

        arguments["torch_optimizer"] = getattr(torch.optim, arguments["torch_optimizer"])
    load(adata[:100].copy(), arguments)
    held, start = watch(), time.perf_counter()
    vc.tl.embed(adata, key_added=KEY, **arguments)
    mapped = time.perf_counter()
    if new.n_obs:
        vc.tl.project(new, adata, key=KEY, key_added=KEY)
    print("SECONDS", mapped - start, time.perf_counter() - mapped)
    print("MEMORY", held, most())
    print("STAGES", json.dumps(adata.uns[KEY]["timings"]))
    np.savez(out_file, train=adata.obsm[KEY], new=new.obsm[KEY] if new.n_obs else np.empty((0, 2), np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
