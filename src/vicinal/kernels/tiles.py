"""Half squared distances of a few queries to 64 points at a time, kept in registers until one of them matters.

A score is ``|p|^2 / 2 - q.p``, that is, half the squared distance less ``|q|^2 / 2``: it ranks points as their
distances do, at one multiplication a feature. Most points are farther than the neighbours a query has already, and
no matrix product of a library can leave those unwritten; here they cost one comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, overload

from .vectors import FLOAT, INT, spread, vector_at

WIDTH = 64
"""Points in a block."""
QUERIES = 6
"""Queries that share a block while it is in registers."""

# Sums of six queries fill 24 of 32 wide registers, or 12 of 16 narrower ones.
FEATURES = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
LANES, VECTORS = (16, 4) if "+avx512f" in FEATURES else (8, 2)

VECTOR = ir.VectorType(FLOAT, LANES)


def tile(queries, rows, points, half_norms, b, thresholds, scores, hits):
    """Compare six queries with the points of a block; return whether any score is below its query's threshold.

    Parameters
    ----------
    queries
        float32 ``(m, n_features)``.
    rows
        int64 ``(QUERIES,)``: the queries to compare.
    points, half_norms
        float32 ``(n_blocks, n_features, WIDTH)`` and ``(n_blocks, WIDTH)``, of which block ``b`` is read.
    thresholds
        float32 ``(QUERIES,)``.
    scores
        Out: float32 ``(QUERIES, WIDTH)``; written only if any is below.
    hits
        Out: uint64 ``(QUERIES,)``, bit ``p`` set for point ``p`` below; written only if any is below.
    """
    found = half_norms[b] - queries[rows] @ points[b]
    below = found < thresholds[:, None]
    if not below.any():
        return False
    scores[:] = found
    hits[:] = (below.astype(np.uint64) << np.arange(WIDTH, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return True


def lowest_bit(bits):
    """Return the position of the lowest set bit of a uint64 that is not 0."""
    return (int(bits) & -int(bits)).bit_length() - 1


@overload(tile, inline="never")
def _compiled_tile(queries, rows, points, half_norms, b, thresholds, scores, hits):
    def implementation(queries, rows, points, half_norms, b, thresholds, scores, hits):
        return _tile(queries, rows, points, half_norms, np.int64(b), thresholds, scores, hits)

    return implementation


@overload(lowest_bit)
def _compiled_lowest_bit(bits):
    return lambda bits: _count_trailing_zeros(np.uint64(bits))


@intrinsic
def _count_trailing_zeros(typing_context, bits):
    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


@intrinsic
def _tile(typing_context, queries, rows, points, half_norms, b, thresholds, scores, hits):
    arguments = (queries, rows, points, half_norms, b, thresholds, scores, hits)
    return types.boolean(*arguments), _generate_tile


def _generate_tile(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
    b = arguments[4]
    queries, rows, points, half_norms, thresholds, scores, hits = (
        cgutils.create_struct_proxy(kind)(context, builder, value=value)
        for kind, value in zip(signature.args, arguments, strict=True)
        if kind is not types.int64
    )
    n_features = cgutils.unpack_tuple(builder, queries.shape)[1]
    starts = [
        builder.gep(queries.data, [builder.mul(_load(builder, rows.data, j), n_features)]) for j in range(QUERIES)
    ]
    block = builder.gep(points.data, [builder.mul(b, builder.mul(n_features, INT(WIDTH)))])
    norms = builder.gep(half_norms.data, [builder.mul(b, INT(WIDTH))])
    limits = [spread(VECTOR, builder, _load(builder, thresholds.data, j)) for j in range(QUERIES)]
    bits = [INT(0)] * QUERIES
    found: list[list[ir.Value]] = [[] for _ in range(QUERIES)]
    for first in range(0, WIDTH, LANES * VECTORS):
        sums = _scores(builder, starts, block, norms, n_features, first)
        for j in range(QUERIES):
            found[j] += sums[j]
            for v in range(VECTORS):
                below = builder.bitcast(builder.fcmp_ordered("<", sums[j][v], limits[j]), ir.IntType(LANES))
                shifted = builder.shl(builder.zext(below, INT), INT(first + v * LANES))
                bits[j] = builder.or_(bits[j], shifted)
    every = bits[0]
    for j in range(1, QUERIES):
        every = builder.or_(every, bits[j])
    some = builder.icmp_unsigned("!=", every, INT(0))
    with builder.if_then(some, likely=False):
        for j in range(QUERIES):
            builder.store(bits[j], builder.gep(hits.data, [INT(j)]))
            for v, value in enumerate(found[j]):
                place = vector_at(VECTOR, builder, scores.data, INT(j * WIDTH + v * LANES))
                builder.store(value, place, align=4)
    return some


def _scores(
    builder: ir.IRBuilder, starts: list[ir.Value], block: ir.Value, norms: ir.Value, n_features: ir.Value, first: int
) -> list[list[ir.Value]]:
    """Sum over features in one order, from half the norm of each point down."""
    before, head, body, after = (
        builder.block,
        *(builder.append_basic_block(name) for name in ("features", "feature", "summed")),
    )
    begin = [_load_vector(builder, norms, INT(first + v * LANES)) for v in range(VECTORS)]
    builder.branch(head)
    builder.position_at_end(head)
    f = builder.phi(INT)
    sums = [[builder.phi(VECTOR) for _ in range(VECTORS)] for _ in range(QUERIES)]
    f.add_incoming(INT(0), before)
    for row in sums:
        for v in range(VECTORS):
            row[v].add_incoming(begin[v], before)
    builder.cbranch(builder.icmp_signed("<", f, n_features), body, after)
    builder.position_at_end(body)
    line = builder.gep(block, [builder.mul(f, INT(WIDTH))])
    values = [_load_vector(builder, line, INT(first + v * LANES)) for v in range(VECTORS)]
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    multiply = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    for j in range(QUERIES):
        factor = spread(VECTOR, builder, builder.fneg(builder.load(builder.gep(starts[j], [f]))))
        for v in range(VECTORS):
            sums[j][v].add_incoming(builder.call(multiply, [factor, values[v], sums[j][v]]), body)
    f.add_incoming(builder.add(f, INT(1)), body)
    builder.branch(head)
    builder.position_at_end(after)
    return sums


def _load(builder: ir.IRBuilder, pointer: ir.Value, position: int) -> ir.Value:
    return builder.load(builder.gep(pointer, [INT(position)]))


def _load_vector(builder: ir.IRBuilder, pointer: ir.Value, position: ir.Value) -> ir.Value:
    return builder.load(vector_at(VECTOR, builder, pointer, position), align=4)
