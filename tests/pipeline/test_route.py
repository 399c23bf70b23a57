from __future__ import annotations

import pytest

from vicinal.contract.errors import InputError
from vicinal.pipeline.route import route

TAKERS = [
    ("graph", "fuzzy", ("local_connectivity", "symmetrize")),
    ("optimizer", "numba_sgd", ("n_epochs", "learning_rate")),
    ("score", "knn_recall", ("k",)),
    ("score", "trustworthiness", ("k",)),
]
ARGUMENTS = ("n_neighbors", "init", "min_dist")


def test_each_parameter_reaches_its_owner() -> None:
    routed = route({"n_epochs": 5, "symmetrize": False}, TAKERS, ARGUMENTS)
    assert routed["optimizer", "numba_sgd"] == {"n_epochs": 5}
    assert routed["graph", "fuzzy"] == {"symmetrize": False}
    assert routed["score", "knn_recall"] == {}


@pytest.mark.parametrize("prefix", ["optimizer", "numba_sgd"])
def test_a_prefix_names_the_owner(prefix: str) -> None:
    assert route({f"{prefix}__n_epochs": 7}, TAKERS, ARGUMENTS)["optimizer", "numba_sgd"] == {"n_epochs": 7}


def test_two_stages_with_one_backend_name_keep_their_own() -> None:
    takers = [("knn", "toy", ("a",)), ("graph", "toy", ("b",))]
    routed = route({"a": 1, "b": 2}, takers, ())
    assert routed == {("knn", "toy"): {"a": 1}, ("graph", "toy"): {"b": 2}}


def test_an_unknown_name_says_who_takes_what_and_suggests() -> None:
    with pytest.raises(
        InputError, match="unknown parameter 'n_epoch'.*'n_epochs'.*graph 'fuzzy': local_connectivity, symmetrize"
    ):
        route({"n_epoch": 5}, TAKERS, ARGUMENTS)


@pytest.mark.parametrize(
    ("given", "meant"), [("gamma", "repulsion_strength"), ("maxiter", "n_epochs"), ("init_pos", "init")]
)
def test_names_of_other_packages_are_understood(given: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
        route({given: 1}, TAKERS, ARGUMENTS)


def test_an_ambiguous_name_lists_the_ways_to_say_it() -> None:
    takers = [(stage, backend, ("depth",)) for stage, backend, _ in TAKERS[1:]]
    with pytest.raises(InputError, match="'depth' is ambiguous: optimizer 'numba_sgd', score 'knn_recall'.* take it"):
        route({"depth": 3}, takers, ARGUMENTS)
    with pytest.raises(InputError, match="'knn_recall__k', 'trustworthiness__k'"):
        route({"k": 3}, TAKERS, ARGUMENTS)


def test_what_other_packages_mean_by_an_ambiguous_name_comes_first() -> None:
    with pytest.raises(InputError, match="^'k' is ambiguous. Did you mean 'n_neighbors'\\? Else score 'knn_recall', "):
        route({"k": 15}, TAKERS, ARGUMENTS)
