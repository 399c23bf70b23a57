import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.spatial.distance import cdist  # noqa: E402

from vicinal.api import NetworkRequest, apply_layers  # noqa: E402
from vicinal.testing import OptimizerConformance  # noqa: E402
from vicinal_torch.networks import Mlp, Residual  # noqa: E402
from vicinal_torch.params import MlpParams, ResidualParams  # noqa: E402
from vicinal_torch.specs import MLP, OPTIMIZER, RESIDUAL  # noqa: E402

SHORT = {"n_training_epochs": 2, "loss_report_frequency": 20, "batch_size": 64, "accelerator": "cpu"}


class TestFreeTable(OptimizerConformance):
    spec = OPTIMIZER
    params = {**SHORT, "parametric": False}
    n_epochs = 10


class TestNetwork(OptimizerConformance):
    spec = OPTIMIZER
    params = {**SHORT, "warm_start_steps": 5, "encoder_params": {"width": 32}}
    n_epochs = 10

    # A network maps rows: its first layout is as near to the one given as it has learned.
    test_no_epoch_moves_nothing = None
    # It moves all cells at once; `check` refuses cells that are fixed before any work.
    test_fixed_cells_stay = None
    test_nothing_moves_where_all_is_fixed = None

    def request(self, graph=None, **changes):
        networks = {"encoder": Mlp(MlpParams(width=32))}
        return super().request(graph, **{"networks": networks, **changes})

    def test_loss_falls(self):
        """The rows say nothing of the ring, so it is learned by heart: from an untrained network."""
        request = self.request()
        optimization = self.start(request)
        before = optimization.losses()["loss"]
        optimization.step(optimization.n_epochs)
        assert optimization.losses()["loss"] < before


NETWORKS = [
    (MLP, Mlp, MlpParams(width=12, depth=2)),
    (MLP, Mlp, MlpParams(width=5, depth=0)),
    (RESIDUAL, Residual, ResidualParams(width=12, depth=2)),
    (RESIDUAL, Residual, ResidualParams(width=4, depth=0)),
]


@pytest.mark.parametrize(("spec", "kind", "params"), NETWORKS)
class TestNetworks:
    def request(self, **changes):
        draw = np.random.default_rng(0)
        center, scale = draw.normal(size=6).astype(np.float32), np.linspace(0.5, 3, 6, dtype=np.float32)
        return NetworkRequest(
            **{"input_dims": (2, 3), "output_dims": (3,), "input_center": center, "input_scale": scale, **changes}
        )

    def test_is_the_one_registered(self, spec, kind, params):
        module, _, name = spec.target.partition(":")
        assert (module, name) == (kind.__module__, kind.__qualname__)
        assert type(params) is spec.params

    def test_maps_shapes(self, spec, kind, params):
        made = kind(params).build(self.request())(torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(1)))
        assert made.shape == (7, 3)
        back = kind(params).build(self.request(input_dims=(3,), output_dims=(2, 3), input_center=None))(made)
        assert back.shape == (7, 2, 3)

    def test_weights_depend_on_the_seed_alone(self, spec, kind, params):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one = kind(params).build(self.request(seed=3)).state_dict()
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        two, other = (kind(params).build(self.request(seed=seed)).state_dict() for seed in (3, 4))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)

    def test_center_and_scale(self, spec, kind, params):
        """The first layer that is trained sees rows without their center, divided by the scale."""
        request = self.request()
        scaled, plain = kind(params).build(request), kind(params).build(self.request(input_center=None))
        rows = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32))
        units = (rows - torch.tensor(request.input_center)) / torch.tensor(request.input_scale)
        torch.testing.assert_close(scaled(rows.view(5, 2, 3)), plain(units.view(5, 2, 3)), rtol=1e-4, atol=1e-5)

    def test_output_center_and_scale(self, spec, kind, params):
        center, scale = np.float32([1, -2, 3]), np.float32([2, 1, 0.5])
        rows = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32))
        plain = kind(params).build(self.request())(rows)
        made = kind(params).build(self.request(output_center=center, output_scale=scale))(rows)
        torch.testing.assert_close(made, plain * torch.tensor(scale) + torch.tensor(center), rtol=1e-5, atol=1e-5)

    def test_layers_say_how_it_is_applied(self, spec, kind, params):
        network = kind(params).build(self.request(output_center=np.float32([1, 2, 3]), output_scale=np.ones(3, "f4")))
        arrays = {name: value.numpy() for name, value in network.state_dict().items()}
        rows = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(rows).view(-1, 2, 3)).numpy()
        found = apply_layers(network.layers(), arrays, rows)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        alone = np.concatenate([apply_layers(network.layers(), arrays, row[None]) for row in rows[::-1]])[::-1]
        np.testing.assert_array_equal(alone, found)

    def test_every_weight_has_a_slope(self, spec, kind, params):
        network = kind(params).build(self.request())
        network(torch.randn(64, 2, 3, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())

    def test_learns(self, spec, kind, params):
        """It has trained parameters that can follow a rotation, which is linear."""
        rows = torch.randn(256, 2, 3, generator=torch.Generator().manual_seed(1))
        wanted = rows.flatten(1)[:, [3, 0, 5]] * 2 + 1
        network = kind(params).build(self.request(input_center=None, input_scale=None))
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(250):
            optimizer.zero_grad()
            loss = (network(rows) - wanted).square().mean()
            loss.backward()
            optimizer.step()
        assert loss < 0.5 * wanted.var()


def test_a_ring_is_laid_out_as_one():
    """Most cells have one beside them on the ring as their nearest, from a random start; by chance 2 of 59 would."""
    case = TestFreeTable()
    case.params = {**case.params, "n_training_epochs": 30, "loss_report_frequency": 1}
    case.n_epochs = 30
    layout = case.finished(case.request())
    distances = cdist(layout, layout)
    np.fill_diagonal(distances, np.inf)
    beside = np.abs(distances.argmin(1) - np.arange(len(layout))) % (len(layout) - 2)
    assert (beside == 1).mean() > 0.5
