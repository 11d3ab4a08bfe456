"""Retrieval-augmented generation: find passages, put them before the question, let the model answer, say where from.

Source: Lewis et al., "Retrieval-Augmented Generation for Knowledge-Intensive NLP Tasks" (2020), which trained retriever and
generator together; here, as usual today, both stay as they are. Notebook 06.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from memcourse.metrics import normal_answer
from memcourse.model.batching import check_texts
from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import Example, prompt_head
from memcourse.model.sampling import Generated
from memcourse.progress import Progress
from memcourse.retrieval.assembly import Assembled, assemble
from memcourse.retrieval.citations import Citation, cite
from memcourse.retrieval.retriever import Ranked, Search
from memcourse.retrieval.store_rows import Record

READINGS = ("together", "each")


@dataclass(frozen=True)
class Answer:
    """What a `RAG` says to one question, and everything it rests on.

    Attributes:
        question: the question.
        text: the answer; "" where the system abstains.
        draft: what the model said, also where the system abstains.
        confidence: from 0 to 1. Read together: the geometric mean probability of the answer's tokens. Read each by itself:
            the share of the passages' weights (1 / rank) that stands behind the answer, times that mean. No probability
            of being right.
        citations: where the passages hold the answer.
        retrieved: what the search found, best first.
        used: the passages that the model read (for "each", those that gave the answer).
        cut: passages that didn't fit into the window, or whose end didn't.
        prompt: what the model read (for "each", the prompt of the best passage).
        tokens: tokens of all prompts that were read for it, the shared head counted once each.
        seconds: "retrieve" (0 where passages were given) and "read", each question's share of a batch.
    """

    question: str
    text: str
    draft: str
    confidence: float
    citations: tuple[Citation, ...]
    retrieved: tuple[Ranked, ...]
    used: tuple[Record, ...]
    cut: tuple[Record, ...]
    prompt: str
    tokens: int
    seconds: Mapping[str, float]

    @property
    def abstained(self) -> bool:
        return not self.text


class RAG:
    """Answers questions from what a search finds.

    Attributes:
        lm: the language model; its weights are never changed.
        search: a `Retriever`, or a stage behind one.
        k: passages that are read.
        read: "together" puts all passages into one prompt. "each" gives every passage a prompt of its own, adds up
            weight times mean token probability over equal answers, and takes the heaviest: RAG-Sequence of Lewis et al.
            (2020), with the weight 1 / rank in the place of a trained retriever's probability.
        verbatim: whether answers are copied: runs of whole words of the passages, so that every citation is exact.
        max_new_tokens: room for the answer.
        abstain_below: the confidence under which nothing is answered; 0 means always answer.
    """

    def __init__(
        self,
        lm: LanguageModel,
        search: Search,
        *,
        k: int = 3,
        read: str = "together",
        verbatim: bool = False,
        examples: Sequence[Example] = (),
        instruction: str = "",
        max_new_tokens: int = 16,
        limit: int | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        """A system of these parts.

        Args:
            examples: solved questions with their passages; a small model needs them to see what is wanted.
            max_new_tokens: room for the answer, which ends at a new line.
            limit: the most tokens of one prompt with its answer; None means the model's window.

        Raises:
            ValueError: k < 1, an unknown way of reading, no room for an answer, a threshold outside [0, 1], or examples that
                leave no room for a question.
        """
        if k < 1 or max_new_tokens < 1 or not 0 <= abstain_below <= 1:
            raise ValueError(
                "RAG needs k and max_new_tokens of at least 1 and a threshold from 0 to 1, "
                f"not {k}, {max_new_tokens} and {abstain_below}."
            )
        if read not in READINGS:
            raise ValueError(f"Passages are read {' or '.join(READINGS)}, not {read!r}.")
        self.lm, self.search, self.k, self.read, self.abstain_below = lm, search, k, read, abstain_below
        self.verbatim, self.max_new_tokens, self._limit = verbatim, max_new_tokens, limit
        self._head = prompt_head(examples, instruction)
        self._fit("?", ())
        # the worked examples run through the model once, for all questions
        self._prefix = lm.prefix(self._head) if self._head else None

    def using(self, search: Search, k: int | None = None) -> RAG:
        """The same system behind another search, or with another k; the worked examples are not read again.

        Raises:
            ValueError: k < 1.
        """
        if k is not None and k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        other = copy.copy(self)
        other.search, other.k = search, self.k if k is None else k
        return other

    def answer(self, question: str) -> Answer:
        """Retrieve, read and answer; raises what `answer_many` raises."""
        if not isinstance(question, str):
            raise TypeError(f"A question is a string, not {type(question).__name__}; answer_many takes several.")
        return self.answer_many([question])[0]

    def answer_many(self, questions: Sequence[str], progress: Progress | None = None) -> list[Answer]:
        """The answers in the order of the questions; much faster than one by one, with the same results.

        Raises:
            TypeError: a single string, or something that is no string.
            ValueError: an empty question, or one that doesn't fit into the window with the examples.
        """
        asked = check_texts(questions, "question")
        for question in asked:  # one that doesn't fit is told before anything is searched
            self._fit(question, ())
        begun = time.perf_counter()
        found = self.search.search(asked, self.k)
        each = (time.perf_counter() - begun) / max(len(asked), 1)
        answers = self.read_many(asked, found, progress)
        return [replace(answer, seconds={**answer.seconds, "retrieve": each}) for answer in answers]

    def read_many(
        self, questions: Sequence[str], found: Sequence[Sequence[Ranked]], progress: Progress | None = None
    ) -> list[Answer]:
        """Answer from given passages, best first, instead of what a search finds.

        From none, the model is on its own, and gives no answer if it may only copy.

        Raises:
            ValueError: as for `answer_many`, or not as many lists of passages as questions.
        """
        asked = check_texts(questions, "question")
        if len(asked) != len(found):
            raise ValueError(f"{len(asked)} questions but {len(found)} lists of passages; give one for each question.")
        begun = time.perf_counter()
        groups = [list(self._assembled(question, hits)) for question, hits in zip(asked, found, strict=True)]
        flat = [part.text for group in groups for part in group]
        sources = [" ".join(record.text for record in part.used) for group in groups for part in group]
        said: list[Generated] = self.lm.generate(
            flat, self.max_new_tokens, stop=["\n"], prefix=self._prefix, scored=True, progress=progress,
            within=sources if self.verbatim else None,
        )  # fmt: skip
        ends = [0]
        for group in groups:
            ends.append(ends[-1] + len(group))
        seconds = {"retrieve": 0.0, "read": (time.perf_counter() - begun) / max(len(asked), 1)}
        return [
            self._answer(question, hits, group, said[a:b], seconds)
            for question, hits, group, (a, b) in zip(asked, found, groups, pairwise(ends), strict=True)
        ]

    def _assembled(self, question: str, hits: Sequence[Ranked]) -> Iterator[Assembled]:
        groups = [[hit] for hit in hits] if self.read == "each" and hits else [hits]
        for group in groups:
            yield self._fit(question, [hit.record for hit in group])

    def _fit(self, question: str, records: Sequence[Record]) -> Assembled:
        return assemble(self.lm, question, records, head=self._head, room=self.max_new_tokens, limit=self._limit)

    def _answer(
        self, question: str, hits: Sequence[Ranked], parts: Sequence[Assembled], said: Sequence[Generated], seconds: Mapping
    ) -> Answer:
        """One answer out of what the model said to each of its prompts."""
        weights = [1 / rank for rank in range(1, len(parts) + 1)]
        behind: dict[str, float] = {}
        for one, weight in zip(said, weights, strict=True):
            key = normal_answer(one.text)
            behind[key] = behind.get(key, 0.0) + weight * math.exp(one.logprob / one.tokens)
        # an empty answer is taken only where there is no other
        key = max(behind, key=lambda key: (bool(key), behind[key]))
        chosen = [i for i, one in enumerate(said) if normal_answer(one.text) == key]
        text = said[chosen[0]].text.strip()
        used = tuple(record for i in chosen for record in parts[i].used)
        confidence = behind[key] / sum(weights) if text else 0.0
        return Answer(
            question,
            text if confidence >= self.abstain_below else "",
            text,
            confidence,
            cite(text, used, question),
            tuple(hits),
            used,
            tuple(record for part in parts for record in part.cut),
            self._head + parts[chosen[0]].text,
            sum(part.tokens for part in parts),
            seconds,
        )
