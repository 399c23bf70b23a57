"""Names in messages: also of columns and keys that are numbers, as `pandas.read_csv(header=None)` leaves them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.contract.errors import InputError, did_you_mean, listing


@pytest.fixture
def cells(rng):
    made = ad.AnnData(rng.normal(size=(30, 4)).astype(np.float32))
    made.obs["cell_type"] = "x"
    made.obs[0] = 1.0
    made.obs[("a", 1)] = 1.0
    made.obsm[1] = np.zeros((30, 2), dtype=np.float32)
    made.layers[2.5] = np.zeros((30, 4), dtype=np.float32)
    made.uns[7] = {"params": {}}
    return made


def test_a_listing_quotes_text_and_leaves_none_out():
    assert listing(["b", 3, "a", None, 2.5, np.int64(4)]) == "'a', 'b', 2.5, 3, 4"
    assert listing([None]) == listing([]) == "none"


def test_the_nearest_name_may_be_a_number_and_is_never_none():
    assert did_you_mean("cells", [0, None, "Cell", ("a", 1)]) == " Did you mean 'Cell'?"
    assert did_you_mean("10", [100, "x"]) == " Did you mean 100?"
    assert did_you_mean("non", [None]) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": "cell_typ"},
        {"fixed": "cell_typ"},
        {"use_rep": "pca"},
        {"init": "umapp"},
        {"neighbors_key": "neighbours"},
        {"init": "sample_place", "sample_by": "cell_typ", "n_epochs": 0},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_name_that_is_not_there_is_refused_beside_numbers(cells, arguments):
    with pytest.raises(
        InputError, match=str(next(reversed(list(arguments))) if "n_epochs" not in arguments else "sample_by")
    ):
        vc.tl.embed(cells, **arguments)


@pytest.mark.parametrize("call", [vc.pl.loss, vc.pl.spectrum, vc.tl.rerun, vc.models.load])
def test_a_key_of_uns_that_is_not_there_is_refused_beside_numbers(cells, call):
    with pytest.raises(vc.contract.errors.VicinalError):
        call(cells, "umapp")


def test_a_map_is_made_beside_names_that_are_numbers(cells):
    vc.tl.embed(cells, n_epochs=2)
    assert vc.tl.score(cells) == cells.uns["umap"]["score"]
    with pytest.raises(InputError, match="cell_type"):
        vc.pl.embedding(cells, color="cell_typ", show=False)
    with pytest.raises(InputError, match="basis"):
        vc.tl.score(cells, "X_umapp")
