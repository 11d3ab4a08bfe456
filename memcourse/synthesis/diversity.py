"""How diverse are synthetic texts? Different n-grams, how well texts are made of one another, and how far they compress.

All measures but the last look at words as BM25 does (`memcourse.retrieval.words`): case and punctuation don't count. Texts
come in a list: a single string, or something in the list that is no string, raises TypeError.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from memcourse.model.batching import check_texts
from memcourse.retrieval.bm25 import words


def distinct_n(texts: Sequence[str], n: int = 2) -> float:
    """Share of the n-grams of all texts together that are different ones, in (0, 1]: 1 if none comes twice.

    More text repeats more by itself, so compare sets of as many words only.

    Source: Li, Galley, Brockett, Gao and Dolan, "A Diversity-Promoting Objective Function for Neural Conversation Models"
    (2016). They divide by the number of words; we divide, as is usual, by that of n-grams, so that 1 can be reached.

    Raises:
        ValueError: n < 1, or no text of n words.
    """
    _check_n(n)
    grams = [gram for text in check_texts(texts, "text", allow_empty=True) for gram in _ngrams(words(text), n)]
    if not grams:
        raise ValueError(f"No text has {n} words, so there are no {n}-grams to count.")
    return len(set(grams)) / len(grams)


def self_bleu(texts: Sequence[str], n: int = 4) -> float:
    """How well each text is made of n-grams of the others: its BLEU with all others as references, averaged; in (0, 1].

    1 for texts that are all the same, low for diverse ones. More texts raise it, so compare sets of one size only.
    BLEU is the geometric mean of the clipped precisions of 1- to n-grams, times a brevity penalty for the reference that
    is closest in length (the shorter of two). An n-gram counts at most as often as in the reference that has it most.
    Smoothing: where no n-gram of an order is found, 0.1 of one counts (method 1 of Chen and Cherry, 2014, as in the
    authors' Texygen). A text of fewer than n words is measured by the orders that it has.

    Source: Zhu et al., "Texygen" (2018). Cross-checked against torchmetrics.

    Raises:
        ValueError: n < 1, fewer than two texts, or a text without words.
    """
    _check_n(n)
    found = [words(text) for text in check_texts(texts, "text", allow_empty=True)]
    if len(found) < 2 or not all(found):
        raise ValueError(f"Self-BLEU needs at least two texts with words; of {len(found)}, {found.count([])} have none.")
    logs: list[list[float]] = [[] for _ in found]
    for order in range(1, n + 1):
        counts = [Counter(_ngrams(row, order)) for row in found]
        most: dict[tuple[str, ...], tuple[int, int]] = {}  # times in the text that has it most, and in the next one
        for count in counts:
            for gram, times in count.items():
                first, second = most.get(gram, (0, 0))
                most[gram] = (times, first) if times > first else (first, max(second, times))
        for log, count in zip(logs, counts, strict=True):
            # whoever has an n-gram most is compared with the next one, all others with that one: they have it less often
            both = ((times, *most[gram]) for gram, times in count.items())
            matches = sum(second if times == first else times for times, first, second in both)
            if total := count.total():
                log.append(math.log((matches or 0.1) / total))
    lengths = Counter(len(row) for row in found)
    penalties = {own: _brevity_penalty(own, lengths) for own in lengths}
    scores = (penalties[len(row)] * math.exp(sum(log) / len(log)) for row, log in zip(found, logs, strict=True))
    return sum(scores) / len(found)


def _brevity_penalty(own: int, lengths: Mapping[int, int]) -> float:
    others = (length for length, texts in lengths.items() if length != own or texts > 1)
    return min(1.0, math.exp(1 - min(others, key=lambda length: (abs(length - own), length)) / own))


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of all texts before zlib's compression (level 9) by bytes after: the higher, the more they repeat.

    English prose has about 2 to 3; a text a hundred times over, much more. zlib looks back 32 KiB only: what repeats
    further away goes unseen, so the order of texts matters. Compare sets of as many bytes only.

    Source: Shaib et al., "Standardizing the Measurement of Text Diversity" (2024).

    Raises:
        ValueError: no characters at all.
    """
    raw = "\n".join(check_texts(texts, "text", allow_empty=True)).encode("utf-8", "surrogatepass")
    if not raw.strip():
        raise ValueError("There is no text to compress.")
    return len(raw) / len(zlib.compress(raw, 9))


def _check_n(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}.")


def _ngrams(found: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(found[i:] for i in range(n)), strict=False)
