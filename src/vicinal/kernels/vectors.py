"""LLVM's vector operations, for kernels that loops would not make vectors of."""

from __future__ import annotations

from llvmlite import ir

FLOAT, INT, POSITION = ir.FloatType(), ir.IntType(64), ir.IntType(32)


def vector_at(kind: ir.VectorType, builder: ir.IRBuilder, pointer: ir.Value, position: ir.Value) -> ir.Value:
    """Return where a vector begins among numbers; it need not be aligned as vectors are."""
    return builder.bitcast(builder.gep(pointer, [position]), kind.as_pointer())


def spread(kind: ir.VectorType, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Return a vector with one number in every lane."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, value, POSITION(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(POSITION, kind.count), None))
