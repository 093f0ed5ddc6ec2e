"""Values of the calculator: what they are, what can be done with them, and how they are written.

A value is an exact integer of at most 1,024 bits, a finite float, a truth value or a text. Every operation
either gives such a value or raises `ExpressionError`, so no chain of operations makes the next one costly.
"""

import math
from collections.abc import Callable
from decimal import Decimal

Value = int | float | bool | str
Number = int | float

MAX_INTEGER_BITS = 1024
"""The range of a float, so that every integer can also take part in float arithmetic."""
MAX_ROUND_DIGITS = 308
"""`round(x, -10**9)` would build a power of ten with a billion digits; no float has more than 308."""


class ExpressionError(ValueError):
    """What is wrong with an expression, in words the model (or a learner) can act on."""


def checked(value: Value) -> Value:
    """Return `value` if it is within the calculator's range, else raise `ExpressionError`."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("result too large" if math.isinf(value) else "result is not a number")
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise ExpressionError("result too large")
    return value


def is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def kind(value: Value) -> str:
    """Name the type of `value` as error messages call it."""
    if isinstance(value, bool):
        return "truth value"
    return "text" if isinstance(value, str) else "number"


def divide(a: Number, b: Number) -> Number:
    if b == 0:
        raise ExpressionError("division by zero")
    # An integer that divides without rest stays exact: (3 * 10**30) / 3 is 10**30 to the last digit.
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return a // b
    return a / b


def floor_divide(a: Number, b: Number) -> Number:
    if b == 0:
        raise ExpressionError("division by zero")
    return a // b


def remainder(a: Number, b: Number) -> Number:
    """Remainder with the sign of `a` (-7 % 3 is -1), as in the Rust picochat, C and JavaScript."""
    if b == 0:
        raise ExpressionError("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        rest = abs(a) % abs(b)
        return -rest if a < 0 else rest
    return math.fmod(a, b)


def power(base: Number, exponent: Number) -> Number:
    if base == 0 and exponent < 0:
        raise ExpressionError("division by zero")
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) <= 1:
            return base ** (2 - exponent % 2) if exponent else 1
        # 2**(bits - 1) <= |base|: past this the result can not fit, and is not worked out to find that out.
        if (base.bit_length() - 1) * exponent > MAX_INTEGER_BITS:
            raise ExpressionError("result too large")
        return base**exponent
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ExpressionError("a negative number has no real fractional power")
    return result


ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": divide,
    "//": floor_divide,
    "%": remainder,
    "**": power,
}
COMPARISONS: dict[str, Callable[[Number, Number], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def apply_operator(operator: str, a: Value, b: Value) -> Value:
    """Return `a operator b`: numbers with all operators, texts with + == and != only."""
    if isinstance(a, str) and isinstance(b, str):
        if operator == "+":
            return a + b
        if operator in ("==", "!="):
            return (a == b) == (operator == "==")
    elif is_number(a) and is_number(b):
        compute = ARITHMETIC.get(operator) or COMPARISONS[operator]
        try:
            return checked(compute(a, b))  # pyright: ignore[reportArgumentType]  is_number() holds for both
        except OverflowError:
            raise ExpressionError("result too large") from None
    raise ExpressionError(f"'{operator}' does not work between a {kind(a)} and a {kind(b)}")


def absolute(x: Number) -> Number:
    return abs(x)


def logarithm(x: Number, base: Number = math.e) -> float:
    return math.log(x) if base == math.e else math.log(x, base)


def rounded(x: Number, digits: Number = 0) -> Number:
    """Round half to even, as Python does: to an integer, or to `digits` decimals."""
    if not isinstance(digits, int) or abs(digits) > MAX_ROUND_DIGITS:
        raise ExpressionError(
            f"round() takes a whole number of digits from -{MAX_ROUND_DIGITS} to {MAX_ROUND_DIGITS}"
        )
    return round(x, digits) if digits else round(x)


NUMBER_FUNCTIONS: dict[str, tuple[Callable[..., Number], int | None]] = {
    "sqrt": (math.sqrt, 1),
    "abs": (absolute, 1),
    "sin": (math.sin, 1),
    "cos": (math.cos, 1),
    "tan": (math.tan, 1),
    "log": (logarithm, 2),
    "exp": (math.exp, 1),
    "ceil": (math.ceil, 1),
    "floor": (math.floor, 1),
    "round": (rounded, 2),
    "min": (lambda *numbers: min(numbers), None),
    "max": (lambda *numbers: max(numbers), None),
}
"""Name -> (function, how many arguments count; None: all). As in the Rust picochat the rest is ignored."""
FUNCTIONS = (*NUMBER_FUNCTIONS, "len")
METHODS = ("count", "upper", "lower")


def call_function(name: str, arguments: list[Value]) -> Value:
    """Return `name(*arguments)`; `len` takes a text and counts its characters, all others take numbers."""
    if name not in FUNCTIONS:
        raise ExpressionError(f"unknown function '{name}'; there are {' '.join(FUNCTIONS)}")
    if not arguments:
        raise ExpressionError(f"{name}() needs an argument")
    if name == "len":
        if not isinstance(arguments[0], str):
            raise ExpressionError("len() needs a text")
        return len(arguments[0])
    function, num_used = NUMBER_FUNCTIONS[name]
    used = arguments[:num_used]
    if not all(is_number(argument) for argument in used):
        raise ExpressionError(f"{name}() needs numbers")
    try:
        return checked(function(*used))
    except OverflowError:
        raise ExpressionError("result too large") from None
    except ExpressionError:
        raise
    except (ValueError, ZeroDivisionError):
        written = ", ".join(format_value(argument) for argument in used)
        raise ExpressionError(f"{name}({written}) has no value") from None


def call_method(text: Value, name: str, arguments: list[Value]) -> Value:
    """Return `text.name(*arguments)`."""
    if name not in METHODS:
        raise ExpressionError(f"unknown method '{name}'; a text has .count(text) .upper() .lower()")
    if not isinstance(text, str):
        raise ExpressionError(f".{name}() needs a text before it")
    if name != "count":
        return text.upper() if name == "upper" else text.lower()
    if not arguments or not isinstance(arguments[0], str):
        raise ExpressionError(".count() needs a text to count")
    return text.count(arguments[0])


def format_value(value: Value) -> str:
    """Write a value as the model sees it.

    Integers are exact; a float without fraction is written as an integer (6/2 is 3, -0.0 is 0); other floats
    are the shortest digits that mean the same float. Exponents appear only below 1e-6 and from 1e21 on (the
    rule of JavaScript). Truth values are `true` and `false`, texts stand as they are.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value == 0:
            return "0"
        if 1e-6 <= abs(value) < 1e21:
            digits = format(Decimal(repr(value)), "f")
            return digits.removesuffix(".0")
        return repr(value)
    return str(value)
