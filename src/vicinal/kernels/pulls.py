"""Attraction and distances of eight edges at a time, two dimensions: places by scalar loads, all else in vectors.

Processors gather slowly, and compilers make gathers of a loop over neighbours, or no vectors at all. Here the
instructions are named. Lanes are eight on every machine, so that sums are the same on each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from .vectors import FLOAT, INT, POSITION, spread, vector_at

LANES = 8
VECTOR, PAIRS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
SHUFFLE = ir.VectorType(POSITION, LANES)


def pull(ends, weights, places, first, x, y, per_dof, sums):
    """Add what eight edges add to the gradient of the cell at ``(x, y)``.

    Parameters
    ----------
    ends, weights
        uint32 and float32 ``(n_edges,)``, of which those from ``first`` on are read.
    places
        float32 ``(n_obs, 2)``.
    sums
        Out: float32 ``(2 * LANES,)``, of each dimension a sum for each lane.
    """
    edges = slice(first, first + LANES)
    difference = np.array([x, y], dtype=np.float32) - places[ends[edges]]
    factors = weights[edges] / (np.float32(1) + np.square(difference).sum(axis=1) * per_dof)
    sums += (factors[:, None] * difference).T.ravel()


def square(ends, places, first, x, y, squares, at):
    """Write the squared lengths of eight edges of the cell at ``(x, y)``.

    Parameters
    ----------
    ends, places
        As in `pull`.
    squares
        Out: float32, of which eight from ``at`` on are written.
    """
    difference = np.array([x, y], dtype=np.float32) - places[ends[first : first + LANES]]
    squares[at : at + LANES] = np.square(difference).sum(axis=1)


@overload(pull, inline="always")  # a call for eight edges would cost as much as they do
def _compiled_pull(ends, weights, places, first, x, y, per_dof, sums):
    def implementation(ends, weights, places, first, x, y, per_dof, sums):
        _pull(ends, weights, places, np.int64(first), np.float32(x), np.float32(y), np.float32(per_dof), sums)

    return implementation


@overload(square, inline="always")
def _compiled_square(ends, places, first, x, y, squares, at):
    def implementation(ends, places, first, x, y, squares, at):
        _square(ends, places, np.int64(first), np.float32(x), np.float32(y), squares, np.int64(at))

    return implementation


@intrinsic
def _pull(typing_context, ends, weights, places, first, x, y, per_dof, sums):
    return types.void(ends, weights, places, first, x, y, per_dof, sums), _generate_pull


def _generate_pull(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    first, x, y, per_dof = arguments[3:7]
    ends, weights, places, sums = (_data(context, builder, signature, arguments, i) for i in (0, 1, 2, 7))
    along_x, along_y, squared = _differences(builder, ends, places, first, x, y)
    ones = ir.Constant(VECTOR, [FLOAT(1.0)] * LANES)
    tail = builder.fadd(ones, builder.fmul(squared, spread(VECTOR, builder, per_dof)))
    factors = builder.fdiv(builder.load(vector_at(VECTOR, builder, weights, first), align=4), tail)
    for place, along in ((INT(0), along_x), (INT(LANES), along_y)):
        total = vector_at(VECTOR, builder, sums, place)
        builder.store(builder.fadd(builder.load(total, align=4), builder.fmul(factors, along)), total, align=4)
    return context.get_dummy_value()


@intrinsic
def _square(typing_context, ends, places, first, x, y, squares, at):
    return types.void(ends, places, first, x, y, squares, at), _generate_square


def _generate_square(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    first, x, y, at = (arguments[i] for i in (2, 3, 4, 6))
    ends, places, squares = (_data(context, builder, signature, arguments, i) for i in (0, 1, 5))
    squared = _differences(builder, ends, places, first, x, y)[2]
    builder.store(squared, vector_at(VECTOR, builder, squares, at), align=4)
    return context.get_dummy_value()


def _data(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any, i: int) -> ir.Value:
    """Return where the numbers of an array begin."""
    return cgutils.create_struct_proxy(signature.args[i])(context, builder, value=arguments[i]).data


def _differences(
    builder: ir.IRBuilder, ends: ir.Value, places: ir.Value, first: ir.Value, x: ir.Value, y: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return what eight ends are away from a place along each dimension, and squared."""
    xs, ys = _coordinates(builder, ends, places, first)
    along_x, along_y = builder.fsub(spread(VECTOR, builder, x), xs), builder.fsub(spread(VECTOR, builder, y), ys)
    return along_x, along_y, builder.fadd(builder.fmul(along_x, along_x), builder.fmul(along_y, along_y))


def _coordinates(builder: ir.IRBuilder, ends: ir.Value, places: ir.Value, first: ir.Value) -> list[ir.Value]:
    """Return where the edges end, a vector for each dimension: both coordinates come in one load."""
    both, pairs = builder.bitcast(places, INT.as_pointer()), ir.Constant(PAIRS, ir.Undefined)
    for lane in range(LANES):
        cell = builder.zext(builder.load(builder.gep(ends, [builder.add(first, INT(lane))])), INT)
        pairs = builder.insert_element(pairs, builder.load(builder.gep(both, [cell]), align=4), POSITION(lane))
    values = builder.bitcast(pairs, ir.VectorType(FLOAT, 2 * LANES))
    nothing = ir.Constant(ir.VectorType(FLOAT, 2 * LANES), ir.Undefined)
    picked = (ir.Constant(SHUFFLE, [POSITION(2 * lane + k) for lane in range(LANES)]) for k in (0, 1))
    return [builder.shuffle_vector(values, nothing, which) for which in picked]
