"""What a model replied, read strictly: a pair or a sentence, or why it can't be used. No reply raises an error."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class Pair(NamedTuple):
    """A question with its answer."""

    question: str
    answer: str


class Unusable(str):
    """Why a reply can't be used, in place of what it should have been; equal to the plain string of the same words."""


def parse_json_reply(reply: str) -> Pair | Unusable:
    """The question-answer pair that a reply holds as its first JSON object, or why there is none.

    Prose and code fences around the object don't matter; in it, nothing but the keys "question" and "answer" may stand,
    with strings that aren't blank.

    Returns: the pair, its white space tidied; or "no JSON", "broken JSON", "missing key", "extra key", "not a string" or
        "empty".
    """
    begin = re.search(r'\{\s*["}]', reply)  # a brace in prose, {like this}, opens no JSON object
    if begin is None:
        return Unusable("no JSON")
    try:
        found, _ = json.JSONDecoder().raw_decode(reply, begin.start())
    except (ValueError, RecursionError):
        return Unusable("broken JSON")
    if not set(Pair._fields) <= set(found):
        return Unusable("missing key")
    if len(found) > len(Pair._fields):
        return Unusable("extra key")
    if not all(isinstance(value, str) for value in found.values()):
        return Unusable("not a string")
    pair = Pair(*(" ".join(found[key].split()) for key in Pair._fields))
    return pair if all(map(words_of, pair)) else Unusable("empty")


def parse_sentence(reply: str) -> str | Unusable:
    """The sentence in the first line of a reply that isn't blank, or "empty", or "unfinished" if it was cut off."""
    lines = [" ".join(line.split()) for line in reply.splitlines()]
    text = next((line for line in lines if line), "")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    if not words_of(text):
        return Unusable("empty")
    return text if text.rstrip("\"'”)").endswith((".", "!", "?")) else Unusable("unfinished")


def words_of(text: str) -> list[str]:
    """The words of a text in small letters; a number stays whole, so that 9 doesn't stand in 9.30."""
    return re.findall(r"\d+(?:[.,:]\d+)+|\w+", unicodedata.normalize("NFKC", text).casefold())


def stands(part: Sequence[str], words: Sequence[str]) -> bool:
    """Whether words stand among others in a row; no words never do."""
    n = len(part)
    return n > 0 and any(words[i : i + n] == part for i in range(len(words) - n + 1))
