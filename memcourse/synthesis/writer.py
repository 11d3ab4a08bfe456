"""A language model as the writer of synthetic data: what it is asked, what comes back, and how much of it is usable.

Whoever writes is any callable (prompts, seed, temperature) -> replies; `model_writer` makes one of a `LanguageModel`. A
reply is read strictly, checked against the fact it should tell, compared with its source, and counted, whatever it is.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from memcourse.metrics import Estimate, share
from memcourse.model.prompts import split_shared
from memcourse.progress import Progress
from memcourse.synthesis.duplicates import jaccard, shingles
from memcourse.synthesis.fact_table import FactTable

if TYPE_CHECKING:
    from memcourse.model.lm import LanguageModel

Replies = Callable[[Sequence[str], int, float], Sequence[str]]  # (prompts, seed, temperature) -> one reply for each prompt


class Statement(NamedTuple):
    """A sentence that tells a fact, with the two parts of it that no rewording may lose: whom it is about, and the value."""

    text: str
    subject: str
    value: str


class Pair(NamedTuple):
    """A question with its answer."""

    question: str
    answer: str


class Unusable(str):
    """Why a reply can't be used, in place of what it should have been; equal to the plain string of the same words."""


class Request(NamedTuple):
    """One prompt, and the statement that the reply should tell."""

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
    return pair if all(map(_words, pair)) else Unusable("empty")


def parse_sentence(reply: str) -> str | Unusable:
    """The sentence in the first line of a reply that isn't blank, or "empty", or "unfinished" if it was cut off."""
    lines = [" ".join(line.split()) for line in reply.splitlines()]
    text = next((line for line in lines if line), "")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    if not _words(text):
        return Unusable("empty")
    return text if text.rstrip("\"'”)").endswith((".", "!", "?")) else Unusable("unfinished")


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
    head = "".join(f"Fact: {text}\nJSON: {json.dumps(pair._asdict())}\n\n" for text, pair in _ASKED)
    return _requests(statements, head, "Fact: {}\nJSON:")


def _requests(statements: Sequence[Statement], head: str, form: str) -> list[Request]:
    for statement in statements:
        text = _words(statement.text)
        if not all(_stands(_words(part), text) for part in (statement.subject, statement.value)):
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
    told = [(_words(s.subject), _words(s.value)) for s in statements]

    def check(request: Request, item: Any) -> bool:
        own = request.statement
        subject, value, source = _words(own.subject), _words(own.value), _words(own.text)
        first, last = (item.question, item.answer) if isinstance(item, Pair) else (item, item)
        given_away = isinstance(item, Pair) and _stands(value, _words(first))
        if given_away or not _stands(subject, _words(first)) or not _stands(value, _words(last)):
            return False
        text = _words(f"{first} {last}")
        foreign = (v for who, v in told if who != subject and not _stands(v, source))
        return not any(_stands(v, text) for v in foreign)

    return check


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
    return tuple(" ".join(_words(part)) for part in parts)


def _words(text: str) -> list[str]:
    """The words of a text in small letters; a number stays whole, so that 9 doesn't stand in 9.30."""
    return re.findall(r"\d+(?:[.,:]\d+)+|\w+", unicodedata.normalize("NFKC", text).casefold())


def _stands(part: Sequence[str], words: Sequence[str]) -> bool:
    n = len(part)
    return n > 0 and any(words[i : i + n] == part for i in range(len(words) - n + 1))
