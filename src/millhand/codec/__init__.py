"""Arguments and results to JSON and back, bound to names and checked by the function's own signature."""

from millhand.codec.duration import parse_duration
from millhand.codec.signature import FunctionSignature, is_pattern
from millhand.codec.values import decode_value, encode_value

__all__ = ["FunctionSignature", "decode_value", "encode_value", "is_pattern", "parse_duration"]
