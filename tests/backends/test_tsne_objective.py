from __future__ import annotations

import numpy as np
import pytest

from vicinal.api import InputError, NormalizedForm
from vicinal.backends.objective.tsne import TsneObjective, TsneParams

SQUARED = np.linspace(0, 400, 50)


@pytest.mark.parametrize("dof", [0.5, 1.0, 4.0])
def test_the_kernel_and_its_logarithm(dof):
    objective = TsneObjective(TsneParams(dof=dof))
    np.testing.assert_allclose(objective.repulsion(SQUARED), (1 + SQUARED / dof) ** -dof)
    np.testing.assert_allclose(objective.attraction(SQUARED), dof * np.log(1 + SQUARED / dof), atol=1e-12)
    assert objective.form("normalized") == NormalizedForm(family="student_t", parameters=(dof,))


@pytest.mark.parametrize("dof", [0, -1, 0.09, 1001, np.nan, np.inf, "1", True])
def test_what_dof_can_be(dof):
    with pytest.raises(InputError, match="dof="):
        TsneParams(dof=dof)


def test_another_form_is_refused():
    with pytest.raises(InputError, match="normalized"):
        TsneObjective(TsneParams()).form("kernel")


def test_a_first_layout_is_small_and_keeps_its_shape(rng):
    layout = rng.normal(loc=3, size=(200, 2)).astype(np.float32) * np.float32([5, 2])
    scaled = TsneObjective(TsneParams()).rescale(layout)
    assert scaled[:, 0].std() == pytest.approx(1e-4, rel=1e-4)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-9)
    ratios = (layout - layout.mean(axis=0)) / scaled
    np.testing.assert_allclose(ratios, np.median(ratios), rtol=1e-2)


def test_a_layout_flat_along_its_first_dimension_is_scaled_by_the_rest(rng):
    layout = np.column_stack([np.zeros(50), rng.normal(size=50)]).astype(np.float32)
    assert 1e-5 < TsneObjective(TsneParams()).rescale(layout).std() < 1e-3
