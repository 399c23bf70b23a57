"""What every builder of networks must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.api import apply_layers
from vicinal.contract.network import NetworkRequest

from .base import Conformance
from .data import blobs, read_only

DIMS = (((8,), (2,)), ((2,), (8,)), ((1,), (1,)), ((8,), (1,)), ((1, 4, 5), (2,)), ((3,), (1, 4, 5)))
"""Shapes of rows that go in and come out: of an encoder, of a decoder, and the smallest; images too."""


class NetworkConformance(Conformance):
    """Checks of a builder of torch networks; they are skipped where torch is not installed.

    Attributes
    ----------
    dims
        Shapes of a row that goes in and of one that comes out, of the networks it is asked for.
    """

    stage: ClassVar[str] = "network"
    dims: ClassVar[tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]] = DIMS

    def build(
        self, input_dims: tuple[int, ...] = (8,), output_dims: tuple[int, ...] = (2,), *, seed: int = 0, **changes: Any
    ) -> Any:
        """Return an untrained network."""
        pytest.importorskip("torch")
        made_from, made = _statistics(math.prod(input_dims)), _statistics(math.prod(output_dims))
        fields: dict[str, Any] = {
            "input_center": made_from[0],
            "input_scale": made_from[1],
            "output_center": made[0],
            "output_scale": made[1],
        }
        request = NetworkRequest(input_dims=input_dims, output_dims=output_dims, seed=seed, **{**fields, **changes})
        return self.make_backend().build(request)

    def exercise(self) -> Any:
        """Build a network and let it map some rows."""
        return _mapped(self.build(), _rows((8,)))

    def test_maps_rows_of_every_shape(self) -> None:
        for input_dims, output_dims in self.dims:
            for n_rows in (1, 2, 30):
                made = _mapped(self.build(input_dims, output_dims), _rows(input_dims, n_rows))
                assert made.shape == (n_rows, *output_dims), f"{n_rows} rows of {input_dims} became {made.shape}"
                assert made.dtype == np.float32, "networks are float32"
                assert np.isfinite(made).all()

    def test_works_without_knowing_the_units(self) -> None:
        nothing: dict[str, Any] = dict.fromkeys(("input_center", "input_scale", "output_center", "output_scale"))
        assert np.isfinite(_mapped(self.build(**nothing), _rows((8,)))).all()

    def test_can_be_built_again_for_its_weights(self) -> None:
        """A model that is loaded knows shapes and parameters alone; its weights must fit what is built of those."""
        network = self.build()
        if callable(getattr(network, "layers", None)):
            pytest.skip("it is applied by its layers, and never built again")
        nothing: dict[str, Any] = dict.fromkeys(("input_center", "input_scale", "output_center", "output_scale"))
        shapes, again = (
            {name: array.shape for name, array in _weights(made).items()} for made in (network, self.build(**nothing))
        )
        assert shapes == again, "its arrays must have the same names and shapes with and without centers and scales"

    def test_tells_rows_apart(self) -> None:
        for input_dims, output_dims in self.dims:
            made = _mapped(self.build(input_dims, output_dims), _rows(input_dims))
            assert np.ptp(made, axis=0).max() > 0, "all rows became one"

    def test_has_weights_that_can_be_trained(self) -> None:
        torch = pytest.importorskip("torch")
        network = self.build()
        network(torch.tensor(_rows((8,)))).square().sum().backward()
        slopes = [weights.grad for weights in network.parameters() if weights.requires_grad]
        assert any(slope is not None and slope.abs().max() > 0 for slope in slopes), "no weight has a slope"

    def test_same_seed_gives_the_same_weights(self) -> None:
        torch = pytest.importorskip("torch")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = _weights(self.build(seed=7))
            torch.manual_seed(2)
            second = _weights(self.build(seed=7))
        assert list(first) == list(second)
        for name, array in first.items():
            np.testing.assert_array_equal(second[name], array, err_msg=f"{name} depends on more than the seed")

    def test_another_seed_gives_other_weights(self) -> None:
        first, second = (_weights(self.build(seed=seed)) for seed in (7, 8))
        assert any(not np.array_equal(second[name], array) for name, array in first.items())

    def test_leaves_the_random_state_of_torch_alone(self) -> None:
        pytest.importorskip("torch")
        with _untouched_state_of_torch():
            self.exercise()

    def test_layers_give_what_the_network_gives(self) -> None:
        """Where it says how it is applied without torch, that makes the same of rows."""
        for input_dims, output_dims in self.dims:
            network = self.build(input_dims, output_dims)
            if not callable(getattr(network, "layers", None)):
                pytest.skip("it does not say how it is applied without torch")
            rows = _rows(input_dims)
            made = apply_layers(network.layers(), _weights(network), rows.reshape(len(rows), -1))
            expected = _mapped(network, rows).reshape(len(rows), -1)
            np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))

    def test_constant_columns(self) -> None:
        torch = pytest.importorskip("torch")
        rows = _rows((8,)).copy()
        rows[:, :3] = 7
        for given in (rows, np.full_like(rows, 7), np.zeros_like(rows)):
            network = self.build()
            made = network(torch.tensor(given))
            made.sum().backward()
            assert np.isfinite(made.detach().numpy()).all()
            for name, weights in network.named_parameters():
                assert weights.grad is None or weights.grad.isfinite().all(), f"the slope of {name} is not finite"


def _rows(dims: tuple[int, ...], n_rows: int = 30) -> np.ndarray:
    return blobs(n_rows, math.prod(dims))[0].reshape(n_rows, *dims)


def _statistics(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means and what to divide by, different for each feature."""
    return read_only(np.linspace(-1, 1, n, dtype=np.float32)), read_only(np.linspace(0.5, 3, n, dtype=np.float32))


def _mapped(network: Any, rows: np.ndarray) -> np.ndarray:
    """Return what a network makes of rows where it is applied."""
    torch = pytest.importorskip("torch")
    was_training = network.training
    try:
        with torch.no_grad():
            return network.eval()(torch.tensor(rows)).numpy()
    finally:
        network.train(was_training)


def _weights(network: Any) -> Mapping[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


@contextmanager
def _untouched_state_of_torch() -> Iterator[None]:
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before), "torch's global random state has changed"
