"""What is refused at the door, and in which words."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import InputError
from vicinal.contract.arguments import checks_arguments, parts_of
from vicinal.contract.seeds import _say_once, as_seed
from vicinal.contract.showing import described, refused


def cells(n_obs: int = 30) -> ad.AnnData:
    adata = ad.AnnData(np.random.default_rng(0).normal(size=(n_obs, 5)).astype(np.float32))
    adata.obs["kind"] = pd.Categorical(["a", "b", "c"] * (n_obs // 3))
    return adata


@checks_arguments
def tool(
    adata: ad.AnnData,
    path: str | Path | None = None,
    *,
    n: int | list[int] = 1,
    share: float = 0.5,
    flag: bool = False,
    random_state: int = 0,
) -> Any:
    return path, n, share, flag, random_state


class TestTypes:
    @pytest.mark.parametrize("n", [3, np.int8(3), [1]])
    @pytest.mark.parametrize("share", [1, 0.5, np.float32(0.5), np.int64(1)])
    @pytest.mark.parametrize("flag", [True, np.bool_(False)])
    def test_what_is_annotated_goes_through(self, n: Any, share: Any, flag: Any) -> None:
        assert tool(cells(), Path("x"), n=n, share=share, flag=flag) == (Path("x"), n, share, flag, 0)

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"n": True}, "n=True is not allowed; give an integer"),
            ({"n": 2.0}, "n=2.0 is not allowed"),
            ({"n": 2**70}, "n=1180591620717411303424 is not allowed"),
            ({"share": "0.5"}, "share='0.5' is not allowed; give a number"),
            ({"share": np.zeros((3, 2))}, r"share is an array of shape \(3, 2\); give a number"),
            ({"flag": 1}, "flag=1 is not allowed; give True or False"),
            ({"path": b"x"}, "path=b'x' is not allowed; give the path of a file"),
            ({"layer": "counts"}, "tool has no argument 'layer'.* The name of a layer is given as use_rep"),
            ({"shore": 1}, "tool has no argument 'shore'.* Did you mean 'share'"),
            ({"seed": 1}, "tool has no argument 'seed'.* Did you mean 'random_state'"),
        ],
    )
    def test_all_else_is_refused(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            tool(cells(), **kwargs)

    def test_python_says_what_is_missing_or_too_much(self) -> None:
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'adata'"):
            tool()
        with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments"):
            tool(cells(), None, 3)

    def test_annotations_are_read_as_they_are_written(self) -> None:
        assert parts_of("str | Callable[[int | str], dict[str, float]] | None") == {"str", "Callable", "None"}
        assert parts_of("os.PathLike[str] | np.ndarray") == {"PathLike", "ndarray"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: vc.tl.embed("umap", a), "adata and method are swapped: the AnnData comes first"),
        (lambda a: vc.tl.score("X_umap", a), "adata and basis are swapped"),
        (lambda a: vc.tl.project("model.vicinal", a), "adata_new and model are swapped"),
        (lambda a: vc.models.save("model.vicinal", a), "adata_or_model and path are swapped"),
        (lambda a: vc.tl.plan("tsne", a), "adata and method are swapped"),
        (lambda a: vc.tl.embed(a.X), "adata is a ndarray; expected an AnnData"),
        (lambda a: vc.tl.embed(a, "UMAP"), "method='UMAP' is unknown.* Did you mean 'umap'"),
        (lambda a: vc.tl.embed(a, "t-SNE"), "method='t-SNE' is unknown.* Did you mean 'tsne'"),
        (lambda a: vc.tl.embed(a, perplexity=30), "unknown parameter 'perplexity'. It is a parameter of method='tsne'"),
        (lambda a: vc.tl.embed(a, "tsne", repulsion_strength=2), "parameter of method='umap'"),
        (
            lambda a: vc.tl.embed(a, layer="counts"),
            "'layer'. The name of a layer is given as use_rep",
        ),
        (lambda a: vc.tl.embed(a, batch_key="batch"), "unknown parameter 'batch_key'. Batches are corrected before"),
        (lambda a: vc.tl.embed(a, use_rep=a.X), r"use_rep is an array of shape \(30, 5\); name a key of obsm"),
        (lambda a: vc.pp.neighbors(a, use_rep=a.X), "use_rep is an array.*adata.obsm"),
        (lambda a: vc.tl.embed(a, neighbors_key=["wnn"]), r"neighbors_key=\['wnn'\] is not allowed"),
        (lambda a: vc.tl.embed(a, neighbors_key=""), "neighbors_key='' is not in adata.uns"),
        (lambda a: vc.tl.embed(a, n_neighbors="15"), "n_neighbors='15' is not allowed; give an integer"),
        (lambda a: vc.tl.embed(a, graph=np.ones((30, 30))), r"graph is an array of shape \(30, 30\).*scipy.sparse"),
        (lambda a: vc.tl.embed(a, labels=a.obs["kind"]), "labels is a Series .*name a column of obs"),
        (lambda a: vc.tl.start(a, n_neighbors="15"), "n_neighbors='15' is not allowed"),
        (lambda a: vc.tl.plan(a, n_neighbors="15"), "n_neighbors='15' is not allowed"),
        (lambda a: vc.tl.spectrum(a, n_neighbors="15"), "n_neighbors='15' is not allowed"),
        (lambda a: vc.pl.embedding(a, color=a.obs["kind"]), "color is a Series .*name columns of obs"),
        (lambda a: vc.tl.score(a, basis=a.X), "basis is an array .*name a map in obsm"),
        (lambda a: vc.tl.score(a, layer="counts"), "score has no argument 'layer'"),
        (lambda a: vc.models.load(a), "path is an AnnData .*give the path of a file"),
    ],
)
def test_what_users_give_by_mistake(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(cells())


class TestSeeds:
    @pytest.mark.parametrize("given", [0, 7, -3, np.int64(7), np.uint8(7), 2**62])
    def test_integers_are_what_they_are(self, given: Any) -> None:
        assert as_seed(given) == int(given)

    @pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, np.random.PCG64])
    def test_generators_give_their_next_integer(self, make: Any) -> None:
        one, same = make(1), make(1)
        first = [as_seed(one), as_seed(one)]
        assert first == [as_seed(same), as_seed(same)] and first[0] != first[1]
        assert all(type(seed) is int and 0 <= seed < 2**63 for seed in first)

    @pytest.mark.parametrize("make", [lambda n: [n, 2], lambda n: np.array([n, 2]), lambda n: 2**80 + n])
    def test_whatever_numpy_takes_has_its_seed(self, make: Any) -> None:
        assert as_seed(make(1)) == as_seed(make(1)) != as_seed(make(2))
        assert as_seed(np.random.SeedSequence(5)) == as_seed(np.random.SeedSequence(5))

    @pytest.mark.parametrize(
        "given", [1.0, True, "1", [True], [0.5], -(2**80), [-1], {}, object(), np.nan, pd.Series([1.5])]
    )
    def test_all_else_is_refused(self, given: Any) -> None:
        with pytest.raises(InputError, match="random_state.*give an integer, or a numpy.random.Generator"):
            as_seed(given)

    def test_none_is_0_and_says_so_once(self, caplog: pytest.LogCaptureFixture) -> None:
        _say_once.cache_clear()
        with caplog.at_level(logging.WARNING, "vicinal"):
            assert as_seed(None) == as_seed(None) == 0
        assert [record.message for record in caplog.records if "random_state=None means 0" in record.message] != []
        assert len(caplog.records) == 1

    def test_the_global_generator_is_left_alone(self) -> None:
        before = np.random.get_state()[1].copy()  # type: ignore[index]
        as_seed(None)
        as_seed(np.random.default_rng(0))
        assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]

    @pytest.mark.parametrize("key", ["one", "two"])
    def test_what_is_recorded_is_an_integer_that_makes_the_map_again(self, key: str) -> None:
        adata, seed = cells(), as_seed(np.random.default_rng(3))
        vc.tl.embed(adata, n_epochs=2, random_state=np.random.default_rng(3), key_added=key)
        assert adata.uns[key]["params"]["random_state"] == seed
        vc.tl.embed(adata, n_epochs=2, random_state=seed, key_added="same")
        assert np.array_equal(adata.obsm[key], adata.obsm["same"])
        vc.tl.rerun(adata, key)
        assert adata.uns[f"{key}_rerun"]["rerun_of"]["equal"]

    def test_wherever_it_is_taken(self) -> None:
        made = np.random.default_rng
        adata = cells()
        for call in (
            lambda: vc.tl.embed(adata, n_epochs=2, random_state=made(1)),
            lambda: vc.tl.start(adata, n_epochs=2, random_state=made(1)),
            lambda: vc.tl.plan(adata, random_state=made(1)),
            lambda: vc.tl.score(adata, random_state=made(1)),
            lambda: vc.tl.spectrum(adata, [4, 1], n_epochs=2, random_state=made(1)),
            lambda: vc.pp.neighbors(adata, random_state=made(1)),
            lambda: vc.tl.update(adata, adata[:20].copy(), key="umap", random_state=made(1), n_epochs=2),
        ):
            call()


class TestShowing:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (3, "3"),
            (np.float64(0.5), "0.5"),
            ("x" * 100, "a text of 100 characters"),
            (list(range(100)), "a list"),
            ([{}], "a list"),
            (np.zeros((2, 3)), "an array of shape (2, 3)"),
            (pd.DataFrame({"a": [1]}), "a DataFrame of shape (1, 1)"),
            (sparse.eye(3).tocsr(), "a csr_matrix of shape (3, 3)"),
            (len, "the function 'len'"),
            (dict, "the class 'dict'"),
        ],
    )
    def test_in_words(self, value: Any, words: str) -> None:
        assert described(value) == words

    def test_how_a_message_begins(self) -> None:
        assert refused("n", 10**6000) == "n is an int"
        assert refused("n", [1]) == "n=[1] is not allowed"
        assert refused("n", np.zeros(2)) == "n is an array of shape (2,)"
