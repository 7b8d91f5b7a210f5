"""Exact sums of floating-point numbers, kept as integers; and what makes the summands exact.

A float64 is an integer of 53 bits times a power of two. Written in base 2**32 it touches three
neighbouring digits of a long number, so the sum of many rows is a sum of small integers in a vector
of `LIMBS` int64 digits: no rounding, hence any order, any split and any subtraction give the same
state. This is the superaccumulator of Kulisch ("Computer Arithmetic and Validity", 2008) with
carries put off, as in Neal, "Fast exact summation using small and large superaccumulators" (2015).

Range: multiples of 2**-160 (bits below are cut off towards zero), magnitudes below 2**212 (about
6e63, so that numbers up to 1e30 may be squared).
Room: a value adds less than 2**32 to any digit, so 2**31 values, those taken back included, can be
added before an int64 overflows; `normalise` makes room again.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

LIMB_BITS = 32
LIMBS = 12
LOWEST_BIT = -160
UNIT = 1 << -LOWEST_BIT  # how many units, the least numbers told apart, make 1
PARTS = 3  # digits that one value touches

_MASK = np.int64((1 << LIMB_BITS) - 1)
_FRACTION_BITS = 52
_FRACTION = np.int64((1 << _FRACTION_BITS) - 1)
_EXPONENT = np.int64(0x7FF)
_EXPONENT_BIAS = 1075  # of the last bit: value = mantissa * 2**(exponent - 1075)
_TOO_HIGH = (LIMBS - PARTS + 1) * LIMB_BITS

# fdlibm, e_log.c: a minimax polynomial for log((1 + s) / (1 - s)) and ln 2 in two parts.
_LOG_ODD = (
    6.666666666666735130e-01,
    2.857142874366239149e-01,
    1.818357216161805012e-01,
    1.479819860511658591e-01,
)
_LOG_EVEN = (3.999999999940941908e-01, 2.222219843214978396e-01, 1.531383769920937332e-01)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


def digits(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which digits each value touches and what it adds to them.

    Parameters
    ----------
    values : (n,) float64

    Returns
    -------
    limbs : (n, 3) int64
        Places in a vector of `LIMBS` digits, least significant first; distinct within a row.
    weights : (n, 3) int64
        What to add there, of the value's sign; below 2**32 in magnitude, often zero.

    Raises
    ------
    ValueError
        If a value is not finite or its magnitude is 2**212 or more.
    """
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.int64)
    exponent = (bits >> _FRACTION_BITS) & _EXPONENT
    # A subnormal gets a bit too many here, but all of it lies below the lowest bit.
    mantissa = (bits & _FRACTION) | np.int64(1 << _FRACTION_BITS)
    place = exponent - np.int64(_EXPONENT_BIAS + LOWEST_BIT)
    if place.size:
        if place.max() >= _TOO_HIGH:
            raise ValueError("exact sums take finite numbers below 2**212 in magnitude")
        if place.min() < 0:
            mantissa >>= np.clip(-place, 0, 63)
            place = np.maximum(place, 0)
    shift = place & np.int64(LIMB_BITS - 1)
    low = (mantissa & _MASK) << shift
    high = ((mantissa >> LIMB_BITS) << shift) + (low >> LIMB_BITS)
    sign = np.int64(1) - ((bits >> 63) & 2)
    weights = np.stack([(low & _MASK) * sign, (high & _MASK) * sign, (high >> LIMB_BITS) * sign], 1)
    limbs = (place >> 5)[:, np.newaxis] + np.arange(PARTS, dtype=np.int64)
    return limbs, weights


def normalise(state: NDArray[np.int64]) -> NDArray[np.int64]:
    """Canonical digits of the same numbers: (..., LIMBS) int64.

    All digits lie in [0, 2**32) but the last, which carries the sign. Equal sums have equal
    canonical digits, and normalising now or later makes no difference.
    """
    canonical = state.copy()
    for limb in range(LIMBS - 1):
        canonical[..., limb + 1] += canonical[..., limb] >> LIMB_BITS
        canonical[..., limb] &= _MASK
    return canonical


def units(state: NDArray[np.int64]) -> int:
    """The sum that (LIMBS,) digits stand for, as a multiple of 2**-160."""
    number = 0
    for digit in reversed(state.tolist()):
        number = (number << LIMB_BITS) + digit
    return number


def value(state: NDArray[np.int64]) -> Fraction:
    """The sum that (LIMBS,) digits stand for."""
    return Fraction(units(state), UNIT)


def to_float(state: NDArray[np.int64]) -> float:
    """The sum that (LIMBS,) digits stand for, rounded once to the nearest float64."""
    return units(state) / UNIT  # Python divides integers with correct rounding


def mean(state: NDArray[np.int64], count: int) -> float:
    """The sum that (LIMBS,) digits stand for over a positive count, rounded once."""
    return units(state) / (count * UNIT)


def square(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squares without rounding: high + low is the square, high is its nearest float64.

    Dekker, "A floating-point technique for extending the available precision" (1971). Exact for
    multiples of 2**-80 up to 1e30 in magnitude.
    """
    scaled = values * 134217729.0  # 2**27 + 1 splits 53 bits into two halves of 26
    upper = scaled - (scaled - values)
    lower = values - upper
    high = values * values
    low = ((upper * upper - high) + 2.0 * upper * lower) + lower * lower
    return high, low


def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of positive normal numbers, within one unit in the last place.

    numpy's own differs in the last bit between processors, and a sum that is exact would show it.
    This is fdlibm's algorithm in single IEEE operations, which are the same everywhere.
    """
    fraction, exponent = np.frexp(values)
    below = fraction < 0.7071067811865476
    fraction = np.where(below, fraction + fraction, fraction)
    power = (exponent - below).astype(np.float64)
    f = fraction - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = z * (_LOG_ODD[0] + w * (_LOG_ODD[1] + w * (_LOG_ODD[2] + w * _LOG_ODD[3])))
    even = w * (_LOG_EVEN[0] + w * (_LOG_EVEN[1] + w * _LOG_EVEN[2]))
    half = 0.5 * f * f
    logarithm: NDArray[np.float64] = (
        s * (half + (odd + even)) + power * _LN2_LOW - half + f + power * _LN2_HIGH
    )
    return logarithm
