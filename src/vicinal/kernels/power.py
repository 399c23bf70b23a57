"""Powers of float32 numbers in a form that compilers turn into vector instructions.

The library's power is a call for every number. This one is exponent bits and two short polynomials without a branch,
good to 2e-6 relative, and the same bits everywhere: nothing in it is fused or reordered.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .compile import inline

MANTISSA_BITS = np.int32(23)
ROOT_HALF = np.int32(0x3F3504F3)  # the bits of the square root of one half
ROUNDING = np.float32(1.5 * 2**23)  # a sum with it is rounded to an integer, which its low bits hold
LARGEST = np.float32(120.0)
ONE = np.float32(1.0)

# Least squares on Chebyshev nodes: log2(1 + x) / x from sqrt(1/2) - 1 to sqrt(2) - 1; (2**x - 1) / x within 1/2.
L1, L2, L3, L4, L5, L6, L7 = (
    np.float32(c)
    for c in (1.4426964521, -0.7213640213, 0.4806291461, -0.3593506515, 0.2956336141, -0.2695062757, 0.1721287370)
)
E1, E2, E3, E4, E5 = (np.float32(c) for c in (0.6931471825, 0.2402234823, 0.0555035696, 0.0096663740, 0.0013390867))


def bits_of(number: np.float32) -> np.int32:
    """Return the bits of a float32 as an integer."""
    return np.float32(number).view(np.int32)


def number_of(bits: np.int32) -> np.float32:
    """Return the float32 that has these bits."""
    return np.int32(bits).view(np.float32)


@intrinsic
def _bits_of(typing_context, number):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _number_of(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@overload(bits_of)
def _compiled_bits_of(number):
    return lambda number: _bits_of(np.float32(number))


@overload(number_of)
def _compiled_number_of(bits):
    return lambda bits: _number_of(np.int32(bits))


@inline
def log2(number: float) -> float:
    """Return the binary logarithm of a positive, normal float32."""
    bits = bits_of(number)
    exponent = np.int32(np.int32(bits - ROOT_HALF) >> MANTISSA_BITS)
    x = number_of(np.int32(bits - np.int32(exponent << MANTISSA_BITS))) - ONE
    series = (((((L7 * x + L6) * x + L5) * x + L4) * x + L3) * x + L2) * x + L1
    return np.float32(exponent) + series * x


@inline
def exp2(number: float) -> float:
    """Return two to a float32, the exponent held within -120 to 120."""
    number = min(max(number, -LARGEST), LARGEST)
    shifted = np.float32(number + ROUNDING)
    x = np.float32(number - np.float32(shifted - ROUNDING))
    series = ((((E5 * x + E4) * x + E3) * x + E2) * x + E1) * x + ONE
    return number_of(np.int32(bits_of(series) + np.int32(bits_of(shifted) << MANTISSA_BITS)))


@inline
def power(base: float, exponent: float) -> float:
    """Return a positive, normal float32 to the power of another."""
    return exp2(exponent * log2(base))
