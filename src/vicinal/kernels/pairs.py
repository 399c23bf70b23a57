"""Sums of t-SNE's kernel over many places at one place, in vectors of a fixed width.

A compiler may reorder such sums to make vectors of its own, as wide as the processor likes: their rounding then
differs from machine to machine. Here the vectors are named. Their lanes are as many on every machine, no product is
fused with a sum, and so the bits are the same on each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from .vectors import FLOAT, INT, spread, vector_at

LANES = 16
"""Two registers of eight: of two chains of sums neither waits for the other."""
VECTOR = ir.VectorType(FLOAT, LANES)


def add_pairs(others, n, place, sums):
    """Add ``w`` and ``w^2 (place - other)`` over places, with ``w = 1 / (1 + d^2)``.

    Parameters
    ----------
    others
        float32 ``(n_components or more, m)``, of which the first ``n`` columns are read.
    n
        A multiple of `LANES`.
    place
        As many float32 as there are dimensions.
    sums
        Out: float32 ``((1 + n_components) * LANES,)``: a sum for each lane, of w, then along each dimension.
    """
    differences = np.array(place, dtype=np.float32)[:, None] - others[: len(place), :n]
    weights = np.float32(1) / np.concatenate([np.ones((1, n), np.float32), np.square(differences)]).sum(axis=0)
    terms = np.concatenate([weights[None], np.square(weights) * differences])
    sums += terms.reshape(len(terms), -1, LANES).sum(axis=1).ravel()


@overload(add_pairs, inline="always")
def _compiled_add_pairs(others, n, place, sums):
    def implementation(others, n, place, sums):
        _add_pairs(others, np.int64(n), place, sums)

    return implementation


@intrinsic
def _add_pairs(typing_context, others, n, place, sums):
    return types.void(others, n, place, sums), _generate


def _generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    n_components = signature.args[2].count
    rows = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
    found = cgutils.create_struct_proxy(signature.args[3])(context, builder, value=arguments[3]).data
    n_columns = cgutils.unpack_tuple(builder, rows.shape, 2)[1]
    lines = [builder.gep(rows.data, [builder.mul(n_columns, INT(k))]) for k in range(n_components)]
    place = [spread(VECTOR, builder, value) for value in cgutils.unpack_tuple(builder, arguments[2], n_components)]
    totals = [vector_at(VECTOR, builder, found, INT(k * LANES)) for k in range(1 + n_components)]
    # Kept in registers along the loop: memory would make each step wait for the last.
    kept = [cgutils.alloca_once_value(builder, builder.load(total, align=4)) for total in totals]
    with cgutils.for_range_slice(builder, INT(0), arguments[1], INT(LANES), INT) as (first, _):
        for total, term in zip(kept, _terms(builder, lines, first, place), strict=True):
            builder.store(builder.fadd(builder.load(total), term), total)
    for total, value in zip(totals, kept, strict=True):
        builder.store(builder.load(value), total, align=4)
    return context.get_dummy_value()


def _terms(builder: ir.IRBuilder, lines: list[ir.Value], first: ir.Value, place: list[ir.Value]) -> list[ir.Value]:
    """Return w of some places, and its square times what they are away along each dimension."""
    ones = ir.Constant(VECTOR, [FLOAT(1.0)] * LANES)
    tail, away = ones, []
    for line, here in zip(lines, place, strict=True):
        away.append(builder.fsub(here, builder.load(vector_at(VECTOR, builder, line, first), align=4)))
        tail = builder.fadd(tail, builder.fmul(away[-1], away[-1]))
    weights = builder.fdiv(ones, tail)
    squared = builder.fmul(weights, weights)
    return [weights, *(builder.fmul(squared, along) for along in away)]
