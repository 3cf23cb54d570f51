"""Who belongs to whom: the assignment with the largest sum of values."""

import numpy as np


def best_assignment(values: np.ndarray) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of the pairs' values is as large as can be.

    Args:
        values: (R,C) float; what a pair is worth. Pairs of 0 or less are never made.

    Returns:
        Pairs (row, column), by row; no row and no column twice. Rows and columns may be left alone.
    """
    if not values.size:
        return []
    rows = np.flatnonzero(values.max(axis=1) > 0)
    columns = values[rows].argmax(axis=1)
    if len(set(columns.tolist())) < len(columns):  # else everyone's first choice is free, and that is the best
        columns = _hungarian(values[rows])
    return [
        (row, column)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if column < values.shape[1] and values[row, column] > 0
    ]


def _hungarian(values: np.ndarray) -> np.ndarray:
    """The Hungarian method by shortest augmenting paths (Jonker and Volgenant 1987), O(R² (R + C)).

    Returns:
        (R,) int, the column of each row; C and more means alone, as every row may have an empty column of its own.
    """
    count = len(values)
    cost = np.hstack([-np.maximum(values, 0), np.zeros((count, count))])
    width = cost.shape[1]
    row_of = np.full(width + 1, -1)  # the last column is not real: each path starts there
    row_price, column_price = np.zeros(count), np.zeros(width + 1)
    for start in range(count):
        row_of[width] = start
        column = width
        distance, before = np.full(width + 1, np.inf), np.full(width + 1, width)
        visited = np.zeros(width + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            row = row_of[column]
            slack = np.append(cost[row] - row_price[row] - column_price[:width], np.inf)
            nearer = ~visited & (slack < distance)
            distance[nearer], before[nearer] = slack[nearer], column
            column = int(np.where(visited, np.inf, distance).argmin())
            step = distance[column]
            row_price[row_of[visited]] += step
            column_price[visited] -= step
            distance[~visited] -= step
        while column != width:
            row_of[column], column = row_of[before[column]], before[column]
    columns = np.empty(count, int)
    taken = np.flatnonzero(row_of[:width] >= 0)
    columns[row_of[taken]] = taken
    return columns
