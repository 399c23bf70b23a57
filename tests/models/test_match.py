from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.api import InputError
from vicinal.models.match import match_columns

names = st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=20, unique=True)


@given(names, names, st.randoms())
def test_every_name_finds_its_column(wanted, others, random):
    given_names = list(dict.fromkeys([*wanted, *others]))
    random.shuffle(given_names)
    assert [given_names[c] for c in match_columns(wanted, given_names)] == wanted


def test_missing_names_are_counted_and_shown():
    wanted = [f"g{i}" for i in range(10)]
    with pytest.raises(
        InputError, match=r"7 of the model's 10 features .* 'g3', 'g4', 'g5', 'g6', 'g7', …. There .*'g0'"
    ):
        match_columns(wanted, wanted[:3])


def test_another_naming_is_shown():
    with pytest.raises(InputError, match="names are like 'ENSG00000000003'"):
        match_columns(["TSPAN6", "TNMD"], ["ENSG00000000003", "ENSG00000000005"])


def test_repeated_names_are_refused_where_they_matter():
    with pytest.raises(InputError, match="1 feature names stand for several columns: 'a'"):
        match_columns(["a", "b"], ["a", "b", "a"])
    with pytest.raises(InputError, match="1 feature names stand for several columns: 'a'"):
        match_columns(["a", "a"], ["a", "b"])
    np.testing.assert_array_equal(match_columns(["a", "b"], ["c", "b", "a", "c"]), [2, 1])


def test_equal_names_need_no_matching():
    np.testing.assert_array_equal(match_columns(["a", "a"], ["a", "a"]), [0, 1])
