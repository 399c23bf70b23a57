"""What every score must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.contract.requests import ScoreRequest
from vicinal.pipeline.checks import check_scores

from .base import SMALL, Conformance, unless_refused
from .data import blobs, score_request


class ScoreConformance(Conformance):
    """Checks of a score.

    Attributes
    ----------
    bounds
        Least and greatest value it can take.
    higher_is_better
        Whether a better map has a higher value.
    tolerance
        How much it may change when the layout is turned: rounding may swap neighbours that are equally near.
    """

    stage: ClassVar[str] = "score"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 0.01

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return the scores of a layout."""
        return self.make_backend().measure(request)

    def exercise(self) -> Any:
        """Measure a map that is its own representation."""
        return self.measure(_request(_plane()))

    def test_scores_are_named_numbers_within_bounds(self) -> None:
        for layout in (_plane(), _shuffled(_plane())):
            self.assert_scores(self.measure(_request(layout)))

    def test_gives_a_score_where_all_is_there(self) -> None:
        assert self.exercise(), "nothing was measured on 200 cells with labels"

    def test_a_true_map_beats_a_shuffled_one(self) -> None:
        true, shuffled = (self.measure(_request(layout)) for layout in (_plane(), _shuffled(_plane())))
        sign = 1 if self.higher_is_better else -1
        for name, value in true.items():
            assert sign * value > sign * shuffled[name], f"{name}: {value} and, shuffled, {shuffled[name]}"

    def test_turning_the_map_changes_nothing(self) -> None:
        turn = np.array([[0.6, -0.8], [0.8, 0.6]])
        for layout in (_plane(), _noisy(_plane())):
            straight, turned = (self.measure(_request(each)) for each in (layout, layout @ turn))
            assert dict(turned) == pytest.approx(dict(straight), abs=self.tolerance)

    def test_sampled_cells(self) -> None:
        request = _request(_noisy(_plane()), sample=np.arange(3, 200, 7))
        self.assert_scores(self.measure(request))

    def test_same_request_gives_the_same_scores(self) -> None:
        assert self.exercise() == self.exercise()

    def test_without_labels(self) -> None:
        if "labels" not in self.spec.capabilities.inputs:
            self.assert_scores(self.measure(score_request(_plane(), _plane())))

    def test_few_cells(self) -> None:
        for n_obs in SMALL[1:]:
            rows, labels = blobs(n_obs, n_features=2)
            request = score_request(rows, rows, labels=labels)
            scores = unless_refused(lambda request=request: self.measure(request))  # type: ignore[misc]
            if scores is not None:
                self.assert_scores(scores)

    def test_collapsed_map(self) -> None:
        self.assert_scores(self.measure(_request(np.zeros((200, 2)))))

    def assert_scores(self, scores: Mapping[str, float]) -> None:
        """Fail unless the scores are ones the host can write."""
        problem = check_scores(scores)
        assert not problem, problem
        low, high = self.bounds
        outside = {name: value for name, value in scores.items() if not low <= value <= high}
        assert not outside, f"outside {low} to {high}: {outside}"


def _plane() -> np.ndarray:
    return blobs(200, n_features=2, n_groups=4)[0]


def _shuffled(layout: np.ndarray) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=1)).permutation(layout)


def _noisy(layout: np.ndarray) -> np.ndarray:
    return layout + np.random.Generator(np.random.Philox(key=2)).normal(scale=2, size=layout.shape)


def _request(layout: np.ndarray, sample: np.ndarray | None = None) -> ScoreRequest:
    return score_request(_plane(), layout, labels=blobs(200, n_features=2, n_groups=4)[1], sample=sample)
