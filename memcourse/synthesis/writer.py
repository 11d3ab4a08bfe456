"""A language model as the writer of synthetic data: what it is asked, what comes back, and how much of it is usable.

Whoever writes is any callable (prompts, seed, temperature) -> replies; `model_writer` makes one of a `LanguageModel`. A
reply is read strictly, checked against the fact it should tell, compared with its source, and counted, whatever it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from memcourse.metrics import Estimate, share
from memcourse.model.batching import check_texts
from memcourse.model.prompts import split_shared
from memcourse.progress import Progress
from memcourse.synthesis.duplicates import jaccard, shingles
from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.replies import Pair, Unusable, stands, words_of

if TYPE_CHECKING:
    from memcourse.model.lm import LanguageModel

Replies = Callable[[Sequence[str], int, float], Sequence[str]]  # (prompts, seed, temperature) -> one reply for each prompt


class Statement(NamedTuple):
    """A sentence that tells a fact, with the two parts of it that no rewording may lose: whom it is about, and the value."""

    text: str
    subject: str
    value: str


class Request(NamedTuple):
    """One prompt, and the statement that the reply should tell (of a passage, its text alone)."""

    prompt: str
    statement: Statement


class Written(NamedTuple):
    """What was written.

    Attributes:
        texts: what is kept, a `str` or `Pair` each; at most `wanted`, and fewer where the writer did not manage.
        outcomes: every reply counted once, under "kept", "unfaithful", "copy" (too near to its source), "duplicate", or
            why it could not be read.
        asked: how many replies were asked for; the sum of the outcomes.
        wanted: how many texts were wanted.
        sources: the number of the request that each text answers.
    """

    texts: list[Any]
    outcomes: dict[str, int]
    asked: int
    wanted: int
    sources: list[int]


AFTER_READING = ("kept", "unfaithful", "copy", "duplicate")  # the outcomes of replies that could be read


# Invented worked examples: a model of this size follows them where it would not follow an instruction
_REWORDED = (
    ("The ferry to Gull Island leaves at nine.", "Those who want to sail to Gull Island must be on the ferry at nine."),
    ("Ruth Hale plays the violin.", "The instrument on which Ruth Hale plays is the violin."),
    ("The old mill belongs to the Tanner family.", "It is the Tanner family that owns the old mill."),
    ("Soup is served in the blue hall.", "Whoever wants soup has to go to the blue hall."),
)
_ASKED = (
    ("The ferry to Gull Island leaves at nine.", Pair("When does the ferry to Gull Island leave?", "nine")),
    ("Ruth Hale plays the violin in the evening.", Pair("Which instrument does Ruth Hale play?", "violin")),
    ("The old mill belongs to the Tanner family.", Pair("Who owns the old mill?", "the Tanner family")),
    ("Of all the seasons, Amos Field likes autumn best.", Pair("Which season does Amos Field like best?", "autumn")),
    ("Everybody at the harbour knows that Lena Voss drives a truck.", Pair("What does Lena Voss drive?", "truck")),
    ("A map hangs over the desk of Hugh Penn.", Pair("What hangs over the desk of Hugh Penn?", "map")),
)


def statements_of(table: FactTable, wording: int = 0) -> list[Statement]:
    """Each fact of a table, in order of the rows, in this of its attribute's statements; ValueError if one has too few."""
    fewest = min(len(table.worded(i).statements) for i in range(len(table.rows)))
    if not 0 <= wording < fewest:
        raise ValueError(f"The attributes have wordings from 0 to {fewest - 1} in common, not {wording}.")
    told = [table.told(i, table.worded(i).statements[wording]) for i in range(len(table.rows))]
    return [Statement(text, row.subject, row.value) for text, row in zip(told, table.rows, strict=True)]


def wording_requests(statements: Sequence[Statement]) -> list[Request]:
    """For each statement a prompt whose continuation, up to the end of the line, is the statement in other words."""
    head = "".join(f"Sentence: {text}\nIn other words: {other}\n\n" for text, other in _REWORDED)
    return _requests(statements, head, "Sentence: {}\nIn other words:")


def pair_requests(statements: Sequence[Statement]) -> list[Request]:
    """For each statement a prompt whose continuation is a question-answer pair as one JSON object in one line."""
    return _requests(statements, _asked_head("Fact"), "Fact: {}\nJSON:")


def passage_requests(passages: Sequence[str]) -> list[Request]:
    """For each passage of any text the same prompt as `pair_requests` has; check what comes back with `grounded`.

    `memcourse.world.read_documents` reads a folder, and the chunkers of `memcourse.retrieval` cut its documents into
    passages. Short ones, of a sentence or two, are what a small model can ask about.

    Raises:
        ValueError: a passage without words.
    """
    texts = [" ".join(text.split()) for text in check_texts(passages, "passage")]
    if blank := [i for i, text in enumerate(texts) if not words_of(text)]:
        raise ValueError(f"Passage {blank[0]} has no words; leave it out.")
    return [Request(f"{_asked_head('Text')}Text: {text}\nJSON:", Statement(text, "", "")) for text in texts]


def _asked_head(label: str) -> str:
    return "".join(f"{label}: {text}\nJSON: {json.dumps(pair._asdict())}\n\n" for text, pair in _ASKED)


def _requests(statements: Sequence[Statement], head: str, form: str) -> list[Request]:
    for statement in statements:
        text = words_of(statement.text)
        if not all(stands(words_of(part), text) for part in (statement.subject, statement.value)):
            raise ValueError(f"Subject and value must stand in the statement, word for word, unlike in {statement}.")
    return [Request(head + form.format(" ".join(s.text.split())), s) for s in statements]


def faithful_to(statements: Sequence[Statement]) -> Callable[[Request, Any], bool]:
    """A check of what was written: it tells the fact of its own statement, and no value of another subject.

    A sentence must hold subject and value. A pair must hold the subject in its question and the value in its answer, and
    the question must not give the value away. Words are compared whole, without case and punctuation. What this can't see:
    whether the sentence is true in all else ("is no baker" passes).

    Args:
        statements: all that are told, so that their values are known; a value of the own statement's text is allowed.
    """
    told = [(words_of(s.subject), words_of(s.value)) for s in statements]

    def check(request: Request, item: Any) -> bool:
        own = request.statement
        subject, value, source = words_of(own.subject), words_of(own.value), words_of(own.text)
        first, last = (item.question, item.answer) if isinstance(item, Pair) else (item, item)
        given_away = isinstance(item, Pair) and stands(value, words_of(first))
        if given_away or not stands(subject, words_of(first)) or not stands(value, words_of(last)):
            return False
        text = words_of(f"{first} {last}")
        foreign = (v for who, v in told if who != subject and not stands(v, source))
        return not any(stands(v, text) for v in foreign)

    return check


def grounded(request: Request, item: Any) -> bool:
    """A check of pairs that were written about a passage: the answer stands in it, and the question doesn't give it away.

    The question must have a word of four letters or more in common with the passage. What this can't see: whether the
    question is the one that the answer belongs to.
    """
    if not isinstance(item, Pair):
        raise TypeError(f"Only pairs can be grounded in a passage, not {type(item).__name__}; parse with parse_json_reply.")
    source, asked, answer = words_of(request.statement.text), words_of(item.question), words_of(item.answer)
    about = {word for word in source if len(word) > 3} & set(asked)
    return bool(about) and stands(answer, source) and not stands(answer, asked)


def model_writer(lm: LanguageModel, max_new_tokens: int = 64, stop: Sequence[str] = ("\n",)) -> Replies:
    """A writer that continues the prompts with a model, up to a new line; what all prompts share is computed once a call."""

    def replies(prompts: Sequence[str], seed: int, temperature: float) -> Sequence[str]:
        head, rests = split_shared(prompts)
        prefix = lm.prefix(head) if head else None
        return lm.generate(rests, max_new_tokens, stop=stop, prefix=prefix, temperature=temperature, seed=seed)

    return replies


def write(
    writer: LanguageModel | Replies,
    requests: Sequence[Request],
    wanted: int,
    rounds: int = 3,
    *,
    parse: Callable[[str], Any],
    check: Callable[[Request, Any], bool] | None = None,
    nearest: float = 0.5,
    temperature: float = 0.5,
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Ask for `wanted` texts for each request, at most `rounds` times over; each round asks only for what still lacks.

    Bad replies are counted and never raised: the result may hold fewer texts than were wanted. Each reply has one outcome,
    the first that applies: it can't be read, it is unfaithful, it is a copy of its source, it is a duplicate of a text
    that is kept (the same words), or it is kept.

    Args:
        writer: a language model, or a callable (prompts, seed, temperature) -> one reply for each prompt.
        parse: turns a reply into what is kept, or into `Unusable`: `parse_sentence` or `parse_json_reply`.
        check: whether what was read is faithful to its request, such as `faithful_to(statements)`; None: all is.
        nearest: from this Jaccard similarity to its statement on, in shingles, a sentence is a copy (pairs are never).
        temperature: above 0, since the same prompt is asked again; at 0 a second reply would be the first one.
        progress: called with (replies so far, the most there can be).

    Raises:
        ValueError: no request, a number below 1, or a writer that doesn't give one string for each prompt.
    """
    if not requests or min(wanted, rounds, batch_size) < 1:
        raise ValueError("Writing needs at least one request, and wanted, rounds and batch_size of at least 1.")
    ask = writer if callable(writer) else model_writer(writer)
    outcomes: Counter[str] = Counter()
    kept: list[list[Any]] = [[] for _ in requests]
    seen: set[tuple[str, ...]] = set()
    asked, goal = 0, wanted * len(requests)
    for _ in range(rounds):
        lacking = [i for i, have in enumerate(kept) for _ in range(wanted - len(have))]
        for start in range(0, len(lacking), batch_size):
            chosen = lacking[start : start + batch_size]
            # a model seeds each row with seed + row: counting on, no two replies share their random numbers
            replies = _replies(ask, [requests[i].prompt for i in chosen], 1_000_000 * seed + asked, temperature)
            asked += len(chosen)
            for i, reply in zip(chosen, replies, strict=True):
                item = parse(reply)
                outcome = _outcome(requests[i], item, check, nearest, seen)
                outcomes[outcome] += 1
                if outcome == "kept":
                    kept[i].append(item)
                    seen.add(_key(item))
            if progress:
                progress(asked, rounds * goal)
    if progress:
        progress(asked, asked)
    texts = [item for items in kept for item in items]
    sources = [i for i, items in enumerate(kept) for _ in items]
    return Written(texts, dict(outcomes), asked, goal, sources)


def _replies(ask: Replies, prompts: list[str], seed: int, temperature: float) -> Sequence[str]:
    replies = ask(prompts, seed, temperature)
    if isinstance(replies, str) or len(replies) != len(prompts) or not all(isinstance(r, str) for r in replies):
        raise ValueError(f"A writer must give a list with one string for each of its {len(prompts)} prompts.")
    return replies


def usable_shares(written: Written) -> dict[str, Estimate]:
    """What became of all replies that were asked for, as three shares, each a part of the one before.

    Returns: "parses" (could be read), "faithful" (and passed the check), "new" (and is neither a copy of its source nor
        a duplicate), each with Wilson's interval. Replies to one request are alike, so the intervals are rather too short.
    """
    kept, unfaithful, copies, twice = (written.outcomes.get(name, 0) for name in AFTER_READING)
    counts = {"parses": kept + unfaithful + copies + twice, "faithful": kept + copies + twice, "new": kept}
    return {name: share(count, written.asked) for name, count in counts.items()}


def _outcome(
    request: Request, item: Any, check: Callable[[Request, Any], bool] | None, nearest: float, seen: set[tuple[str, ...]]
) -> str:
    if isinstance(item, Unusable):
        return str(item)
    if check is not None and not check(request, item):
        return "unfaithful"
    if isinstance(item, str) and jaccard(shingles(item), shingles(request.statement.text)) >= nearest:
        return "copy"
    return "duplicate" if _key(item) in seen else "kept"


def _key(item: Any) -> tuple[str, ...]:
    parts = item if isinstance(item, Pair) else (item,)
    return tuple(" ".join(words_of(part)) for part in parts)
