import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import sparse  # noqa: E402
from scipy.stats import chisquare  # noqa: E402

from vicinal.api import Graph, InputError, KnnRequest, OptimizeRequest, TorchForm  # noqa: E402
from vicinal.testing import OptimizerConformance  # noqa: E402
from vicinal_torch.knn import TorchKnn, TorchKnnParams  # noqa: E402
from vicinal_torch.losses import (  # noqa: E402
    Batch,
    global_correlation_loss,
    landmark_loss,
    pair_losses,
    reconstruction_loss,
)
from vicinal_torch.params import TorchParams  # noqa: E402
from vicinal_torch.rows import Rows, statistics  # noqa: E402
from vicinal_torch.sampling import NEGATIVES_AN_EDGE, WALK, Draw, EdgeSampler  # noqa: E402
from vicinal_torch.specs import OPTIMIZER  # noqa: E402
from vicinal_torch.task import Losses, Task, named  # noqa: E402
from vicinal_torch.training import one_cycle  # noqa: E402
from vicinal_torch.validation import Validation  # noqa: E402

CPU = torch.device("cpu")
UNLIKELY = 1e-4
"""A right sampler is called wrong so often; seeds are fixed, so it is either always or never."""


def random_graph(n, density, seed, *, directed=False):
    matrix = sparse.random(n, n, density, random_state=seed, dtype=np.float32, format="csr")
    matrix = sparse.csr_matrix(matrix if directed else matrix.maximum(matrix.T))
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    graph = Graph.from_scipy(matrix)
    return Graph(indptr=graph.indptr, indices=graph.indices, weights=graph.weights, directed=directed)


def sampler(graph, batch_size=96, trained=None, *, uniform=False):
    return EdgeSampler(graph, batch_size, trained, CPU, uniform=uniform)


def edges_of(draw):
    return draw.cells[: draw.n_edges].numpy(), draw.cells[draw.n_walks : draw.n_walks + draw.n_edges].numpy()


def others_of(draw):
    """Return, for each shift, the cells that the heads are kept apart from, as the docstring of `Draw` has it."""
    around = draw.cells.numpy()[len(draw.cells) - draw.n_uniform :] if draw.n_uniform else draw.cells.numpy()
    return [around[(np.arange(draw.n_edges) + shift) % len(around)] for shift in draw.shifts]


def times_drawn(graph, draws, pick=slice(None)):
    counts = np.zeros((graph.n_obs, graph.n_obs))
    for draw in draws:
        heads, tails = edges_of(draw)
        np.add.at(counts, (heads[pick], tails[pick]), 1)
    return counts


class TestSampler:
    @pytest.mark.parametrize("directed", [False, True])
    def test_edges_in_proportion_to_their_weight(self, directed):
        graph = random_graph(30, 0.1, 3, directed=directed)
        weights = graph.to_scipy().toarray().astype(np.float64)
        counts = times_drawn(graph, sampler(graph).draw(400, seed=5))
        assert not counts[weights == 0].any()
        # Edges of one walk depend on each other: each step of the walk is tested by itself.
        made = sampler(graph)
        for step in range(made.n_edges // made.n_walks):
            pick = slice(step * made.n_walks, (step + 1) * made.n_walks)
            found = times_drawn(graph, made.draw(400, seed=5), pick)[weights > 0]
            expected = weights[weights > 0] / weights.sum() * found.sum()
            large = expected > 5
            tested = [*found[large], found[~large].sum()], [*expected[large], expected[~large].sum()]
            assert chisquare(*(np.array(values)[np.array(tested[1]) > 0] for values in tested)).pvalue > UNLIKELY

    def test_a_bound_that_would_be_broken_by_other_weights(self):
        graph = random_graph(30, 0.1, 3)
        weights = graph.to_scipy().toarray().astype(np.float64)
        found = times_drawn(graph, sampler(graph).draw(400, seed=5))[weights > 0]
        wrong = (weights > 0)[weights > 0] / (weights > 0).sum() * found.sum()
        assert chisquare(found, wrong).pvalue < 1e-30

    def test_walks_follow_edges(self):
        graph = random_graph(40, 0.08, 1)
        dense = graph.to_scipy().toarray() > 0
        for draw in sampler(graph).draw(20, seed=2):
            path = draw.cells.view(WALK, draw.n_walks).numpy()
            for here, there in zip(path[:-1], path[1:], strict=True):
                assert dense[here, there].all()
            assert draw.n_edges == (WALK - 1) * draw.n_walks

    def test_a_walk_in_a_directed_graph_is_one_edge(self):
        graph = random_graph(40, 0.08, 1, directed=True)
        dense = graph.to_scipy().toarray() > 0
        draw = sampler(graph, 50).draw(1, seed=2)[0]
        assert (draw.n_walks, draw.n_edges, len(draw.cells)) == (50, 50, 100)
        assert dense[edges_of(draw)].all()

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 64, 1536])
    @pytest.mark.parametrize("uniform", [False, True])
    def test_batches_hold_as_many_edges_as_asked_for(self, size, uniform):
        made = sampler(random_graph(20, 0.2, 1), size, uniform=uniform)
        for draw in made.draw(3, seed=0):
            assert size <= draw.n_edges < size + WALK - 1
            assert len(draw.cells) == made.n_cells
            assert len(others_of(draw)) == NEGATIVES_AN_EDGE

    def test_cells_that_are_held_out_are_never_drawn(self):
        graph, held_out = random_graph(60, 0.1, 4), np.arange(60) % 3 == 0
        for uniform in (False, True):
            drawn = torch.cat([d.cells for d in sampler(graph, trained=~held_out, uniform=uniform).draw(60, seed=1)])
            assert not np.isin(drawn.numpy(), np.flatnonzero(held_out)).any()
            reachable = ~held_out & (graph.to_scipy().toarray()[:, ~held_out] > 0).any(axis=1)
            assert set(np.flatnonzero(reachable)) <= set(drawn.tolist()), "all others are"

    def test_cells_that_share_an_edge_of_no_weight_do_not_meet(self):
        weights = sparse.csr_matrix(np.float32([[0, 1, 0], [1, 0, 1e-38], [0, 1e-38, 0]]))
        drawn = sampler(Graph.from_scipy(weights)).draw(20, seed=0)
        assert {*torch.cat([draw.cells for draw in drawn]).tolist()} == {0, 1}

    def test_a_function_of_the_seed(self):
        made = sampler(random_graph(40, 0.1, 1), uniform=True)
        torch.manual_seed(1)
        one = made.draw(4, seed=9)
        torch.manual_seed(2)
        made.draw(1, seed=1)
        two, other = made.draw(4, seed=9), made.draw(4, seed=10)
        assert all(torch.equal(a.cells, b.cells) and a.shifts == b.shifts for a, b in zip(one, two, strict=True))
        assert not torch.equal(one[0].cells, other[0].cells)
        assert not torch.equal(one[0].cells, one[1].cells)

    def test_leaves_global_states_alone(self):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        sampler(random_graph(40, 0.1, 1), uniform=True).draw(4, seed=9)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()

    def test_negatives_of_the_batch_are_others_of_the_batch(self):
        for draw in sampler(random_graph(40, 0.1, 1), 9).draw(50, seed=2):
            assert all(1 <= shift < len(draw.cells) for shift in draw.shifts), "0 would be the cell itself"

    def test_uniform_negatives_are_any_cells_alike(self):
        graph = random_graph(25, 0.1, 1)  # of very different degrees
        drawn = np.concatenate([np.concatenate(others_of(d)) for d in sampler(graph, uniform=True).draw(300, seed=2)])
        alone = np.concatenate([d.cells[-d.n_uniform :].numpy() for d in sampler(graph, uniform=True).draw(300, 2)])
        assert chisquare(np.bincount(alone, minlength=25)).pvalue > UNLIKELY
        assert set(drawn) == set(range(25))
        in_batch = np.concatenate([np.concatenate(others_of(d)) for d in sampler(graph).draw(300, seed=2)])
        assert chisquare(np.bincount(in_batch, minlength=25)).pvalue < UNLIKELY, "those of a batch go by degree"

    @pytest.mark.parametrize("uniform", [False, True])
    def test_nothing_to_draw(self, uniform):
        empty = Graph.from_scipy(sparse.csr_matrix((5, 5), dtype=np.float32))
        assert sampler(empty, uniform=uniform).total == 0


def draw_of(cells, n_walks, n_edges, shifts, n_uniform=0):
    return Draw(torch.tensor(cells), n_walks, n_edges, tuple(shifts), n_uniform)


def forms():
    """A form whose losses are told apart easily."""
    return TorchForm(attraction=lambda squared: squared, repulsion=lambda squared: 1 / (1 + squared))


class TestPairLosses:
    @pytest.mark.parametrize("uniform", [False, True])
    def test_the_sums_written_out(self, uniform, rng):
        graph = random_graph(30, 0.1, 2)
        draw = sampler(graph, 60, uniform=uniform).draw(1, seed=4)[0]
        table = rng.normal(size=(30, 3))
        found = pair_losses(forms(), torch.tensor(table[draw.cells.numpy()]), draw, repulsion_factor=2.5)
        heads, tails = edges_of(draw)
        attraction = np.mean([np.square(table[i] - table[j]).sum() for i, j in zip(heads, tails, strict=True)])
        apart = [
            1 / (1 + np.square(table[i] - table[j]).sum()) if i != j else 0.0
            for far in others_of(draw)
            for i, j in zip(heads, far, strict=True)
        ]
        assert float(found["attraction"]) == pytest.approx(attraction, rel=1e-9)
        assert float(found["repulsion"]) == pytest.approx(2.5 * np.mean(apart), rel=1e-9)

    def test_a_cell_is_not_kept_apart_from_itself(self):
        draw = draw_of([0, 1, 0, 1], n_walks=2, n_edges=2, shifts=[2])
        found = pair_losses(forms(), torch.tensor([[0.0, 0], [5, 0], [0, 0], [5, 0]]), draw, 1.0)
        assert float(found["repulsion"]) == 0

    def test_slopes_are_finite_for_coincident_cells(self):
        form = type("Case", (OptimizerConformance,), {"spec": OPTIMIZER})().make_objective().form("torch")
        draw = sampler(random_graph(30, 0.1, 2), 60).draw(1, seed=4)[0]
        places = torch.zeros(len(draw.cells), 2, requires_grad=True)
        sum(pair_losses(form, places, draw, 2.5).values()).backward()
        assert places.grad.isfinite().all()


class TestOtherLosses:
    def test_global_correlation_is_that_of_consecutive_distances(self, rng):
        rows, places = rng.normal(size=(50, 2, 6)), rng.normal(size=(50, 2))

        def consecutive(values):
            values = values.reshape(len(values), -1)
            values = np.clip((values - values.mean()) / values.std(), -10, 10)
            return np.linalg.norm(values[1:] - values[:-1], axis=1)

        expected = -np.corrcoef(consecutive(rows), consecutive(places))[0, 1]
        found = global_correlation_loss(torch.tensor(rows), torch.tensor(places))
        assert float(found) == pytest.approx(expected, abs=1e-6)

    def test_global_correlation_is_best_for_what_goes_in(self, rng):
        rows = torch.tensor(rng.normal(size=(40, 2)))
        assert float(global_correlation_loss(rows, 3 * rows + 7)) == pytest.approx(-1, abs=1e-6)

    def test_global_correlation_cuts_what_is_far(self, rng):
        rows = rng.normal(size=(500, 4))
        rows[7] = 1e6
        far = rng.normal(size=(500, 4))
        far[7] = 1e9
        assert abs(float(global_correlation_loss(torch.tensor(rows), torch.tensor(far)))) > 0.99

    @pytest.mark.parametrize("loss", [global_correlation_loss, landmark_loss])
    def test_slopes_are_finite_where_all_coincides(self, loss):
        places = torch.zeros(9, 2, requires_grad=True)
        loss(torch.zeros(9, 2), places).backward()
        assert places.grad.isfinite().all()
        places.grad = None
        loss(places, torch.zeros(9, 2)).backward()
        assert places.grad.isfinite().all()

    def test_landmarks_cost_their_mean_distance(self, rng):
        places, wanted = rng.normal(size=(2, 20, 3))
        found = float(landmark_loss(torch.tensor(places), torch.tensor(wanted)))
        assert found == pytest.approx(np.linalg.norm(places - wanted, axis=1).mean(), rel=1e-6)

    def test_mse_is_a_share_of_the_variance(self, rng):
        rows = rng.normal(size=(4000, 5)) * [1, 2, 3, 4, 5]
        variance = rows.var(axis=0).mean()
        mean = torch.tensor(np.broadcast_to(rows.mean(axis=0), rows.shape).copy())
        loss = reconstruction_loss("mse", variance)
        assert float(loss(mean, torch.tensor(rows))) == pytest.approx(1, rel=1e-6)
        assert float(loss(torch.tensor(rows), torch.tensor(rows))) == 0

    def test_bce_is_of_logits(self, rng):
        logits, rows = rng.normal(size=(30, 4)), rng.random(size=(30, 4))
        shares = 1 / (1 + np.exp(-logits))
        expected = -(rows * np.log(shares) + (1 - rows) * np.log(1 - shares)).mean()
        found = reconstruction_loss("bce", 1.0)(torch.tensor(logits), torch.tensor(rows))
        assert float(found) == pytest.approx(expected, rel=1e-9)

    def test_a_function_is_taken_as_it_is(self):
        def own(made, rows):
            return made.sum()

        assert reconstruction_loss(own, 1.0) is own


def task_of(rng, *, n=40, directed=False, labels=None, **params):
    """Return the task of a random graph whose network is linear, and the module's weights."""
    graph = random_graph(n, 0.1, 2, directed=directed)
    rows, layout = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    arrays = {"landmark_positions": params.pop("positions")} if "positions" in params else {}

    class Objective:
        negative_sample_rate = 3.0

        def form(self, name):
            assert name == "torch"
            return forms()

    request = OptimizeRequest(
        graph=graph, layout=layout, objective=Objective(), representation=rows, labels=labels, arrays=arrays
    )
    encoder = torch.nn.Linear(4, 2)
    params = TorchParams(**{"encoder": encoder, **params})
    task = Task(request=request, params=params, dims=(4,), held_out=None, statistics=statistics(rows))
    return task, torch.nn.ModuleDict({"encoder": encoder})


def losses_of(task, modules):
    return Losses(task, modules, Rows(task.request.representation, task.dims, CPU), CPU)


class TestLossesOfABatch:
    @pytest.mark.parametrize(("directed", "factor"), [(False, 1.5), (True, 3.0)])
    def test_the_objective_weighs_repulsion(self, rng, directed, factor):
        """A negative sample moves one cell in the objective's terms; slopes move both ends."""
        task, modules = task_of(rng, directed=directed)
        draw = task.sampler(CPU).draw(1, seed=1)[0]
        found = losses_of(task, modules).of(draw)
        rows = torch.tensor(task.request.representation)
        expected = pair_losses(forms(), modules["encoder"](rows[draw.cells]), draw, factor)
        assert found.keys() == {"attraction", "repulsion"}
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)

    def test_every_part_by_name_and_weight(self, rng):
        positions = rng.normal(size=(40, 2)).astype(np.float32)
        positions[::2] = np.nan
        task, modules = task_of(
            rng,
            positions=positions,
            landmark_loss_weight=3.0,
            global_correlation_loss_weight=0.5,
            reconstruction=True,
            decoder=torch.nn.Linear(2, 4),
            reconstruction_loss_weight=0.25,
            extra_losses=[lambda batch: batch.places.sum(), lambda batch: batch.rows.sum()],
        )
        modules["decoder"] = task.params.decoder
        draw = task.sampler(CPU).draw(1, seed=1)[0]
        found = losses_of(task, modules).of(draw)
        rows = torch.tensor(task.request.representation)[draw.cells]
        places, wanted = modules["encoder"](rows), torch.tensor(positions)[draw.cells]
        there = ~wanted.isnan().any(1)
        assert 0 < there.sum() < len(there)
        made = modules["decoder"](places)
        expected = {
            "landmarks": 3 * (places - wanted)[there].norm(dim=1).mean(),
            "global_correlation": 0.5 * global_correlation_loss(rows, places),
            "reconstruction": 0.25 * (made - rows).square().mean() / task.statistics.deviation**2,
            "extra": places.sum(),
            "extra_2": rows.sum(),
        }
        assert found.keys() == {"attraction", "repulsion", *expected}
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("together", [False, True])
    def test_reconstruction_shapes_the_map_where_asked(self, rng, together):
        task, modules = task_of(rng, reconstruction=True, decoder=torch.nn.Linear(2, 4), autoencoder_loss=together)
        modules["decoder"] = task.params.decoder
        losses_of(task, modules).of(task.sampler(CPU).draw(1, seed=1)[0])["reconstruction"].backward()
        assert modules["decoder"].weight.grad.abs().sum() > 0
        slope = modules["encoder"].weight.grad
        assert (slope is not None and bool(slope.abs().sum() > 0)) == together

    def test_what_a_loss_of_the_users_sees(self, rng):
        labels, seen = np.arange(40) % 4 - 1, []
        positions = np.full((40, 2), np.nan, dtype=np.float32)
        positions[3] = 1

        def own(batch):
            seen.append(batch)
            return batch.places.square().mean()

        task, modules = task_of(rng, labels=labels, positions=positions, extra_losses=[own])
        draw = task.sampler(CPU).draw(1, seed=1)[0]
        found = losses_of(task, modules).of(draw)
        (batch,) = seen
        assert isinstance(batch, Batch)
        assert torch.equal(batch.cells, draw.cells)
        np.testing.assert_array_equal(batch.labels, labels[draw.cells])
        np.testing.assert_array_equal(batch.rows, task.request.representation[draw.cells])
        np.testing.assert_array_equal(batch.landmarks, positions[draw.cells])
        assert batch.reconstruction is None
        assert batch.places.requires_grad
        torch.testing.assert_close(found["own"], batch.places.square().mean())

    def test_a_batch_without_a_landmark(self, rng):
        positions = np.full((40, 2), np.nan, dtype=np.float32)
        positions[0] = 1
        task, modules = task_of(rng, positions=positions, batch_size=1)
        draws = [draw for draw in task.sampler(CPU).draw(30, seed=1) if 0 not in draw.cells]
        found = losses_of(task, modules).of(draws[0])["landmarks"]
        assert float(found) == 0
        found.backward()
        assert not modules["encoder"].weight.grad.any()

    @pytest.mark.parametrize("given", [1.0, None, torch.ones(3)])
    def test_what_is_no_number(self, rng, given):
        for name, params in (
            ("extra_losses", {"extra_losses": [lambda batch: given]}),
            ("landmark_loss", {"landmark_loss": lambda a, b: given, "positions": np.ones((40, 2), np.float32)}),
            (
                "reconstruction_loss",
                {
                    "reconstruction_loss": lambda a, b: given,
                    "reconstruction": True,
                    "decoder": torch.nn.Linear(2, 4),
                },
            ),
        ):
            task, modules = task_of(rng, **params)
            if task.params.reconstruction:
                modules["decoder"] = task.params.decoder
            draw = task.sampler(CPU).draw(1, seed=1)[0]
            with pytest.raises(InputError, match=f"{name}: 'extra' gave"):
                losses_of(task, modules).of(draw)

    def test_a_number_in_a_dimension_of_its_own(self, rng):
        task, modules = task_of(rng, extra_losses=[lambda batch: batch.places.mean().reshape(1, 1)])
        assert losses_of(task, modules).of(task.sampler(CPU).draw(1, seed=1)[0])["extra"].shape == ()

    def test_names_are_all_different(self):
        def attraction(batch):
            return batch.places.mean()

        class Callable:
            def __call__(self, batch):
                return batch.places.mean()

        losses = [attraction, lambda b: b, lambda b: b, Callable(), attraction]
        found = named(losses)
        assert list(found) == ["attraction_2", "extra", "extra_2", "Callable", "attraction_3"]
        assert list(found.values()) == losses


class TestValidation:
    def test_held_out_cells_by_the_edges_that_reach_them(self, rng):
        task, modules = task_of(rng)
        held_out = np.arange(40) % 4 == 0
        task = Task(request=task.request, params=task.params, dims=(4,), held_out=held_out, statistics=task.statistics)
        losses = losses_of(task, modules)
        made = Validation.of(task, losses, modules, CPU)
        for draw in made._draws:
            heads, tails = edges_of(draw)
            assert (held_out[heads] | held_out[tails]).all()
        parts = [losses.of_pairs(draw, torch.from_numpy(held_out)) for draw in made._draws]
        found = made.losses()
        for name in ("attraction", "repulsion"):
            expected = np.mean([float(part[name].detach()) for part in parts])
            assert found[f"validation_{name}"] == pytest.approx(expected, rel=1e-6)
        assert found["validation"] == pytest.approx(found["validation_attraction"] + found["validation_repulsion"])
        assert made.losses() == found, "the same each time"

    def test_other_cells_by_their_nearest(self, rng):
        task, modules = task_of(rng)
        rows = task.request.representation
        others = (rows[:7] + 0.01).astype(np.float32)

        class Host:
            def index(self, rows, k):
                request = KnnRequest(representation=rows, k=k, n_obs=len(rows))
                return TorchKnn(TorchKnnParams(device="cpu")).build(request)

        request = OptimizeRequest(
            graph=task.request.graph,
            layout=task.request.layout,
            objective=task.request.objective,
            representation=rows,
            arrays={"validation_rows": others},
            host=Host(),
        )
        task = Task(request=request, params=task.params, dims=(4,), held_out=None, statistics=task.statistics)
        made = Validation.of(task, losses_of(task, modules), modules, CPU)
        near = np.argsort(((others[:, None] - rows[None]) ** 2).sum(2), axis=1)[:, :15]
        for draw in made._draws:
            heads, tails = (made._losses._rows.take(torch.tensor(side)).numpy() for side in edges_of(draw))
            for head, tail in zip(heads, tails, strict=True):
                (other,) = np.flatnonzero((others == head).all(axis=1))
                assert (rows[near[other]] == tail).all(axis=1).any()

    def test_none(self, rng):
        task, modules = task_of(rng)
        assert Validation.of(task, losses_of(task, modules), modules, CPU) is None


class TestStatistics:
    def test_center_scale_and_deviation(self, rng, monkeypatch):
        monkeypatch.setattr("vicinal_torch.rows.CHUNK", 50)  # so that there are many parts
        rows = (5 + rng.normal(size=(200, 4)) * [1, 4, 9, 0]).astype(np.float32)
        chosen = np.arange(200) % 3 > 0
        found, part = statistics(rows, chosen), rows[chosen].astype(np.float64)
        np.testing.assert_allclose(found.center, part.mean(axis=0), rtol=1e-5)
        each, deviation = part.std(axis=0), np.sqrt(part.var(axis=0).mean())
        assert found.deviation == pytest.approx(deviation, rel=1e-6)
        scaled = (part - found.center) / found.scale
        assert np.sqrt(scaled.var(axis=0).mean()) == pytest.approx(1, rel=1e-5), "unit variance in all"
        np.testing.assert_allclose(found.scale[:3] / found.scale[0], np.sqrt(each[:3] / each[0]), rtol=1e-4)
        assert not scaled[:, 3].any(), "a constant feature says nothing"

    @pytest.mark.parametrize("n", [1, 2])
    def test_equal_rows(self, n):
        found = statistics(np.full((n, 3), 4, dtype=np.float32))
        assert np.isfinite([*found.center, *found.scale, found.deviation]).all()
        assert (found.scale > 0).all()


class TestSchedule:
    def test_as_torch_has_it(self):
        n = 1000
        rise = 0.1
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=n + 1, pct_start=rise)
        expected = []
        for _ in range(n + 1):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(expected) <= n:
                theirs.step()
        found = [one_cycle(step / n) for step in range(n + 1)]
        np.testing.assert_allclose(found, expected, atol=0.05)
        assert max(found) == pytest.approx(1, abs=1e-3)
        assert (found[0], found[-1]) == pytest.approx((1 / 25, 1 / 25e4))
