"""From ranked passages to a prompt that fits into the window: what is left out, and what never is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import open_question
from memcourse.retrieval.store_rows import Record


class Assembled(NamedTuple):
    """The last part of a prompt, made of passages and the question.

    Attributes:
        text: the passages (the best one last, next to the question), the question, and "Answer:".
        used: the passages in it, the best one first.
        cut: passages that were left out, or whose end was, the best one first.
        tokens: of the whole prompt, its head included.
    """

    text: str
    used: tuple[Record, ...]
    cut: tuple[Record, ...]
    tokens: int


def assemble(
    lm: LanguageModel, question: str, records: Sequence[Record], *, head: str = "", room: int = 32, limit: int | None = None
) -> Assembled:
    """As many of the passages, given best first, as fit before the question; the question is never cut.

    The worst are left out first. Where not even the best one fits, its end is cut off, and `used` holds what remains.

    Args:
        head: what stands before (worked examples, an instruction).
        room: tokens that the answer may take, 0 or more.
        limit: the most tokens of prompt and answer together; None, or more than it, means the model's window.

    Raises:
        ValueError: the question alone doesn't fit, or it is empty; or room is negative.
    """
    if room < 0:
        raise ValueError(f"The answer needs a room of 0 tokens or more, not {room}.")
    most = min(lm.window if limit is None else limit, lm.window) - room

    def size(kept: Sequence[Record]) -> int:
        return len(lm.encode(head + open_question(question, _joined(kept))))

    least = size([])
    if least > most:
        raise ValueError(
            f"The question that begins with {question.strip()[:40]!r} takes {least:,} tokens with the worked examples; with "
            f"{room:,} for the answer that is more than the {most + room:,} there are. Shorten it, or give fewer examples."
        )
    kept = list(records)
    while kept and size(kept) > most:
        # about as many as are too much, and at least the worst
        kept = kept[: min(len(kept) - 1, max(1, int(len(kept) * most / size(kept))))]
    while len(kept) < len(records) and kept and size([*kept, records[len(kept)]]) <= most:
        kept.append(records[len(kept)])
    cut = list(records[len(kept) :])
    if not kept and records:
        shorter = _shortened(lm, records[0], most - least, lambda record: size([record]) <= most)
        kept = [shorter] if shorter else []
    text = open_question(question, _joined(kept))
    return Assembled(text, tuple(kept), tuple(cut), size(kept))


def _joined(records: Sequence[Record]) -> str | None:
    return " ".join(record.text.strip() for record in reversed(records)) or None


def _shortened(lm: LanguageModel, record: Record, tokens: int, fits: Callable[[Record], bool]) -> Record | None:
    """The beginning of a passage that fits; None where not even a token does."""
    spans = lm.tokenizer(record.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    for n in range(min(tokens, len(spans)), 0, -1):
        end = spans[n - 1][1]
        shorter = Record(record.id, record.document, record.start, record.start + end, record.text[:end], record.metadata)
        if shorter.text.strip() and fits(shorter):
            return shorter
    return None
