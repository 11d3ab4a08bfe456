"""Cutting texts into chunks that know where they come from: by characters, tokens, sentences or headings.

What holds for all of them: `text[chunk.start:chunk.end] == chunk.text`; no chunk is longer than asked for; without
overlap the chunks, put together, are the text; and what a reader sees as one character (an emoji with its skin tone, a
letter with its accents) is not cut apart, unless it alone is longer than a chunk may be. All run in linear time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol


class Chunk(NamedTuple):
    """A piece of a text: the characters from start to end."""

    text: str
    start: int
    end: int


class Offsets(Protocol):
    """A tokenizer of transformers, as far as it is needed here: a fast one, which knows where each token stands."""

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> dict[str, list]: ...


# A sentence ends at . ! ? or their kin in other scripts, with what closes it, before white space (or at once where the
# script needs none), and at an empty line. It begins with one set of characters, which Python's engine looks for fast.
_SENTENCE_END = re.compile(
    "[.!?\\n\u0964\u06d4\u061f\u3002\uff01\uff1f](?:"
    "(?<=[.!?\u0964\u06d4\u061f])[.!?\u0964\u06d4\u061f]*[\"'\u201d\u2019)\\]]*\\s+"
    "|(?<=[\u3002\uff01\uff1f])[\u3002\uff01\uff1f]*[\u300d\u300f]*\\s*"
    "|(?<=\\n)\\s*\\n)"
)
_VISIBLE = re.compile(r"\S")
TAIL = 120  # characters in which a sentence's end is looked for first
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)


def by_characters(text: str, size: int = 800, overlap: int = 0) -> list[Chunk]:
    """Chunks of `size` characters, each of which repeats the last `overlap` characters of the one before.

    Raises:
        ValueError: size < 1, or an overlap that is not from 0 to size - 1.
    """
    _check(size, overlap)

    def repeat_from(start: int, end: int) -> int:
        again = _whole(text, end - overlap, start)
        return again if again > start else end

    return _cut(text, lambda start: _whole(text, start + size, start), repeat_from if overlap else None)


def by_tokens(text: str, tokenizer: Offsets, size: int = 200, overlap: int = 0) -> list[Chunk]:
    """Chunks of at most `size` tokens of the whole text's tokenisation, which repeat the last `overlap` tokens.

    Characters before the first token of a chunk belong to the chunk before, so that nothing between tokens is lost.

    Raises:
        ValueError: size < 1, or an overlap that is not from 0 to size - 1.
    """
    _check(size, overlap)
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if not spans:
        return by_characters(text, max(1, len(text)))
    # a cut before token i is allowed where it cuts no character apart; one character can be several tokens
    starts = [0, *(start for start, _ in spans[1:]), len(text)]
    chunks: list[Chunk] = []
    first = last = 0
    while last < len(spans):
        done, last = last, _last_token(text, spans, first, size)
        if last <= done:  # so much is repeated that nothing new fits
            first, last = done, _last_token(text, spans, done, size)
        start, end = starts[first], starts[last]
        if end > start:
            chunks.append(Chunk(text[start:end], start, end))
        first = max(last - overlap, first + 1)
        while overlap and first < last and not _allowed(text, spans, first, start):
            first += 1
    return chunks


def _last_token(text: str, spans: Sequence[tuple[int, int]], first: int, size: int) -> int:
    """The token before which a chunk of at most `size` tokens from `first` on ends."""
    last = min(first + size, len(spans))
    while first + 1 < last < len(spans) and not _allowed(text, spans, last, spans[first][0]):
        last -= 1
    return last


def by_sentences(text: str, size: int = 800, overlap: int = 0) -> list[Chunk]:
    """Chunks of as many whole sentences as fit into `size` characters; a longer sentence is cut by characters.

    Args:
        overlap: each chunk repeats the last whole sentences of the one before, up to so many characters.

    Raises:
        ValueError: size < 1, or an overlap that is not from 0 to size - 1.
    """
    _check(size, overlap)

    def repeat_from(start: int, end: int) -> int:
        again = _SENTENCE_END.search(text, max(end - overlap, start), end)
        return _whole(text, again.end(), start) if again else end

    return _cut(text, lambda start: _last_sentence(text, start, start + size), repeat_from if overlap else None)


def sentences(text: str) -> list[Chunk]:
    """One chunk for each sentence, however long it is.

    White space belongs to a sentence beside it, so that the chunks, put together, are the text; a blank text is one chunk,
    an empty one has none. Sentences end where `by_sentences` may cut, which is also after an abbreviation's full stop.
    """
    cuts = [0]
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        whole = end == len(text) or not _joined(text, end, cuts[-1])
        if whole and _VISIBLE.search(text, cuts[-1], end):
            cuts.append(end)
    if len(cuts) > 1 and not _VISIBLE.search(text, cuts[-1]):
        cuts.pop()
    return [Chunk(text[start:end], start, end) for start, end in pairwise([*cuts, len(text)]) if end > start]


def _last_sentence(text: str, start: int, most: int) -> int:
    """Where the last sentence ends that fits between start and most."""
    if most >= len(text):
        return len(text)
    for begin in (max(start, most - TAIL), start):  # it is nearly always found near the end
        ends = [match.end() for match in _SENTENCE_END.finditer(text, begin, most)]
        if ends:
            return _whole(text, ends[-1], start)
    return _whole(text, most, start)


def by_headings(text: str, size: int = 800) -> list[Chunk]:
    """Chunks that begin at the headings of a Markdown text; a section longer than `size` is cut by sentences.

    Raises:
        ValueError: size < 1.
    """
    _check(size, 0)
    cuts = sorted({0, *(match.start() for match in _HEADING.finditer(text)), len(text)})
    chunks = []
    for start, end in pairwise(cuts):
        if end - start <= size:
            chunks.append(Chunk(text[start:end], start, end))
        else:
            parts = by_sentences(text[start:end], size)
            chunks.extend(Chunk(part.text, part.start + start, part.end + start) for part in parts)
    return chunks


def _cut(
    text: str, end_of: Callable[[int], int], repeat_from: Callable[[int, int], int] | None = None
) -> list[Chunk]:  # fmt: skip
    """Chunks from where the one before ended, or from where it is to be repeated, to wherever they end."""
    chunks: list[Chunk] = []
    start = end = 0
    while end < len(text):
        done, end = end, end_of(start)
        if end <= done:  # so much is repeated that nothing new fits
            start, end = done, end_of(done)
        chunks.append(Chunk(text[start:end], start, end))
        start = repeat_from(start, end) if repeat_from else end
    return chunks


def _check(size: int, overlap: int) -> None:
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"A chunk needs a size of at least 1 and an overlap from 0 to size - 1, not {size} and {overlap}.")


def _whole(text: str, place: int, least: int) -> int:
    """The last place at or before `place`, and after `least`, at which no visible character is cut apart."""
    if place >= len(text):
        return len(text)
    cut = place
    while cut > least and _joined(text, cut, least):
        cut -= 1
    return cut if cut > least else place


def _allowed(text: str, spans: Sequence[tuple[int, int]], token: int, least: int) -> bool:
    return spans[token][0] >= spans[token - 1][1] and not _joined(text, spans[token][0], least)


def _joined(text: str, place: int, least: int) -> bool:
    """Whether the characters on both sides of a place are parts of one that is seen; nothing before `least` is looked at.

    Source: the commonest rules of Unicode's Standard Annex 29 (marks, joiners, skin tones, flags, line ends).
    """
    after, before = text[place], text[place - 1]
    if after < "\u0300":  # quick: Latin text
        return after == "\n" and before == "\r"
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # a flag is two of these letters
        run = place
        while run > least and "\U0001f1e6" <= text[run - 1] <= "\U0001f1ff":
            run -= 1
        return (place - run) % 2 == 1
    return (
        unicodedata.category(after) in ("Mn", "Mc", "Me")
        or after == "\u200d"
        or before == "\u200d"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
