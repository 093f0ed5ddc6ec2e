"""The calculator a model can call: an expression in, its value (or what is wrong with it) out, both as text.

    comparison  :=  sum [(== | != | < | > | <= | >=) sum]
    sum         :=  product {(+ | -) product}
    product     :=  unary {(* | / | // | %) unary}
    unary       :=  {+ | -} power
    power       :=  postfix [** unary]
    postfix     :=  primary {. method(arguments)}
    primary     :=  number | 'text' | "text" | function(arguments) | ( comparison )

The value is worked out while reading. No timer watches over it: the input has at most 1,024 characters,
nesting is limited and no value can grow (see operations.py), so the cost is bounded by construction.
"""

import re
from typing import NamedTuple

from picochat.tools.operations import (
    COMPARISONS,
    ExpressionError,
    Value,
    apply_operator,
    call_function,
    call_method,
    checked,
    format_value,
    kind,
)

MAX_LENGTH = 1024
MAX_DEPTH = 50
"""Nested parentheses, calls and powers; each takes a few Python frames of the 1,000 there are."""
ERROR_PREFIX = "error: "
MAX_ERROR_LENGTH = 160

LEVELS: tuple[tuple[str, ...], ...] = (tuple(COMPARISONS), ("+", "-"), ("*", "/", "//", "%"))
"""Binary operators from loose to tight; all but the comparisons go left to right."""

# Digits are ASCII only: int() would also read the digits of forty other scripts.
TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"""|(?P<text>'[^']*'|"[^"]*")"""
    r"|(?P<operator>\*\*|//|==|!=|<=|>=|[-+*/%<>(),.])"
)
HINTS = {
    "^": "a power is written **",
    "=": "variables do not exist; to compare, write ==",
    ",": "write 1000, not 1,000",
    "'": "the text does not end",
    '"': "the text does not end",
}


class Token(NamedTuple):
    kind: str
    text: str
    position: int


def calculate(expression: str) -> str:
    """Return the value of `expression` as text, or `error: ` and what is wrong. Never raises.

    >>> calculate("2+3*4"), calculate("'banana'.count('a')"), calculate("1/0")
    ('14', '3', 'error: division by zero')
    """
    try:
        return format_value(evaluate(expression))
    except ExpressionError as error:
        # The message goes into the model's context; an echoed name may be as long as the input.
        return f"{ERROR_PREFIX}{error}"[:MAX_ERROR_LENGTH]


def evaluate(expression: str) -> Value:
    """Return the value of `expression`; raises `ExpressionError` (and nothing else) if it has none."""
    if len(expression) > MAX_LENGTH:
        raise ExpressionError(f"expression longer than {MAX_LENGTH} characters")
    tokens = _tokenize(expression)
    if not tokens:
        raise ExpressionError("empty expression")
    parser = _Parser(tokens)
    value = parser.binary()
    parser.expect_end()
    return value


def _tokenize(expression: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(expression):
        match = TOKEN.match(expression, position)
        if match is None:
            raise _unexpected(Token("other", expression[position], position))
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match.group(), position))
        position = match.end()
    return tokens


def _unexpected(token: Token) -> ExpressionError:
    hint = f"; {HINTS[token.text]}" if token.text in HINTS else ""
    return ExpressionError(f"unexpected {token.text} at position {token.position}{hint}")


class _Parser:
    """Reads the tokens once from left to right; one method per rule of the grammar, each returns a value."""

    def __init__(self, tokens: list[Token]):
        self.tokens = tokens
        self.next = 0
        self.depth = 0

    def take(self, *operators: str) -> str | None:
        """Step over the next token and return it if it is one of `operators`."""
        if self.next < len(self.tokens):
            token = self.tokens[self.next]
            if token.kind == "operator" and token.text in operators:
                self.next += 1
                return token.text
        return None

    def take_any(self) -> Token:
        if self.next == len(self.tokens):
            raise ExpressionError("the expression is not complete")
        self.next += 1
        return self.tokens[self.next - 1]

    def expect(self, operator: str) -> None:
        if not self.take(operator):
            token = self.take_any()
            raise _unexpected(token)

    def expect_end(self) -> None:
        if self.next < len(self.tokens):
            raise _unexpected(self.tokens[self.next])

    def enter(self) -> None:
        # Left again only on success: an error ends the whole evaluation.
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels")

    def binary(self, level: int = 0) -> Value:
        """Read operands joined by the operators of `LEVELS[level]`, tighter levels first."""
        if level == len(LEVELS):
            return self.unary()
        value = self.binary(level + 1)
        while operator := self.take(*LEVELS[level]):
            value = apply_operator(operator, value, self.binary(level + 1))
            if level == 0 and self.take(*LEVELS[0]):
                raise ExpressionError("only two values can be compared")
        return value

    def unary(self) -> Value:
        signs = []
        while sign := self.take("+", "-"):
            signs.append(sign)
        value = self.power()
        if not signs:
            return value
        if isinstance(value, (str, bool)):
            raise ExpressionError(f"a {kind(value)} takes no sign")
        return -value if signs.count("-") % 2 else value

    def power(self) -> Value:
        value = self.postfix()
        if self.take("**"):
            self.enter()
            value = apply_operator("**", value, self.unary())
            self.depth -= 1
        return value

    def postfix(self) -> Value:
        value = self.primary()
        while self.take("."):
            method = self.take_any()
            if method.kind != "name":
                raise _unexpected(method)
            self.expect("(")
            value = call_method(value, method.text, self.arguments())
        return value

    def primary(self) -> Value:
        token = self.take_any()
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "text":
            return token.text[1:-1]
        if token.kind == "name":
            if not self.take("("):
                raise ExpressionError(f"unknown name '{token.text}'; variables do not exist")
            return call_function(token.text, self.arguments())
        if token.text == "(":
            self.enter()
            value = self.binary()
            self.expect(")")
            self.depth -= 1
            return value
        raise _unexpected(token)

    def arguments(self) -> list[Value]:
        """Read the arguments of a call up to its closing parenthesis; the opening one has been read."""
        if self.take(")"):
            return []
        self.enter()
        values = [self.binary()]
        while self.take(","):
            values.append(self.binary())
        self.expect(")")
        self.depth -= 1
        return values


def _number(text: str) -> Value:
    return checked(int(text) if text.isdigit() else float(text))
