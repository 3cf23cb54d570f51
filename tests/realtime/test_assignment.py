from itertools import permutations

import numpy as np
import pytest

from realtime.faces.assignment import best_assignment


def best_sum(values):
    """Of all ways to pair, tried one by one."""
    values = np.maximum(values, 0)
    if values.shape[0] > values.shape[1]:
        values = values.T
    rows = range(values.shape[0])
    return max(
        sum(values[r, c] for r, c in zip(rows, chosen, strict=True))
        for chosen in permutations(range(values.shape[1]), len(rows))
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 6), (6, 4), (5, 5), (1, 6), (6, 1)])
def test_the_sum_is_the_largest_of_all(shape):
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(-0.5, 1, shape).round(1)  # coarse, so that many are equal
        pairs = best_assignment(values)
        assert sum(values[pair] for pair in pairs) == pytest.approx(best_sum(values))
        assert all(values[pair] > 0 for pair in pairs)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)


def test_both_give_way_if_that_is_better_for_all():
    assert best_assignment(np.array([[0.9, 0.8], [0.85, 0.1]])) == [(0, 1), (1, 0)]


def test_one_stays_alone_if_there_is_nothing_left_for_it():
    assert best_assignment(np.array([[0.9, 0.0], [0.8, 0.0]])) == [(0, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_nothing_is_paired_where_nothing_is_worth_it(shape):
    assert best_assignment(np.zeros(shape)) == []
