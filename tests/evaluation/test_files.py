"""JSON is read strictly, in one place: what a careless writer or a flipped byte leaves is a sentence."""

import pytest

from evaluation.files import load_json

STRANGE_JSON = {
    "a key twice": (b'{"a": 1, "a": 2}', "'a' appears twice"),
    "a key twice, deep": (b'[{"a": {"b": 1, "b": 1}}]', "'b' appears twice"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "Infinity": (b'{"a": -Infinity}', "-Infinity is no number"),
    "a number without end": (b'{"a": 1e999}', "1e999 is no finite number"),
    "a number of 5000 digits": (b"1" * 5000, "digits"),
    "cut off": (b'{"a": [1, 2', "Expecting"),
    "empty": (b"", "Expecting value"),
    "two values": (b"{} {}", "Extra data"),
    "not UTF-8": (b'{"a": "\xe9"}', "utf-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "utf-8"),
    "half a character": (b'{"a": "\\ud83d"}', "surrogates"),
    "a bare NUL": (b'{"a": "\0"}', "control character"),
    "deep": (b"[" * 100_000, "recursion"),
}


@pytest.mark.parametrize(("content", "said"), STRANGE_JSON.values(), ids=STRANGE_JSON.keys())
def test_strange_json_is_a_sentence(content: bytes, said: str) -> None:
    """Guards against Python's own reader, which takes the last of two keys and NaN for a number."""
    with pytest.raises(
        ValueError, match=rf"^x\.json cannot be read as JSON \(.*{said}.*\); write it again\.$"
    ):
        load_json(content, "x.json")


def test_plain_json_is_what_it_says() -> None:
    """Numbers, nesting and any text, also beyond 16 bits and as an escaped pair, are read as they are."""
    text = '{"a": [1, -2.5, 1e3, null, true], "b": "\u65e5\U0001f600", "c": "\\ud83d\\ude00\\u0000"}'
    expected = {"a": [1, -2.5, 1000.0, None, True], "b": "\u65e5\U0001f600", "c": "\U0001f600\0"}
    assert load_json(text, "x") == load_json(text.encode(), "x") == expected
