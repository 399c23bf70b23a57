from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vicinal.backends.objective.umap import UmapObjective, UmapParams  # noqa: E402


@pytest.mark.parametrize(("a", "b", "strength"), [(1.577, 0.895, 1.0), (0.58, 1.33, 2.5), (1.0, 1.0, 0.0)])
class TestTorchForm:
    def test_the_losses_of_the_objective(self, a, b, strength):
        objective = UmapObjective(UmapParams(a=a, b=b, repulsion_strength=strength))
        form, squared = objective.form("torch"), np.concatenate([[0, 1e-12], np.logspace(-8, 4, 200)])
        for name in ("attraction", "repulsion"):
            found = getattr(form, name)(torch.tensor(squared)).numpy()
            np.testing.assert_allclose(found, getattr(objective, name)(squared), rtol=1e-6, atol=1e-9)

    def test_slopes_are_finite_from_no_distance_on(self, a, b, strength):
        form = UmapObjective(UmapParams(a=a, b=b, repulsion_strength=strength)).form("torch")
        for dtype in (torch.float32, torch.float64):
            squared = torch.tensor([0.0, 1e-30, 1e-12, 1e-3, 1.0, 1e12], dtype=dtype, requires_grad=True)
            (form.attraction(squared) + form.repulsion(squared)).sum().backward()
            assert squared.grad.isfinite().all()

    def test_slopes_are_those_of_the_losses(self, a, b, strength):
        form, squared = UmapObjective(UmapParams(a=a, b=b, repulsion_strength=strength)).form("torch"), None
        squared = torch.logspace(-2, 2, 30, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(form.attraction, squared)
        assert torch.autograd.gradcheck(form.repulsion, squared)
