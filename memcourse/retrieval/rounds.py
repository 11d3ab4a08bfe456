"""Searching again with what was found: for questions whose second half can't be looked up before the first is known."""

from __future__ import annotations

from collections.abc import Sequence

from memcourse.model.batching import check_texts
from memcourse.retrieval.retriever import Ranked, Search


class Again:
    """A stage that searches several times, each time for the question together with the passages found so far.

    A loop in the spirit of IRCoT (Trivedi et al., 2023), without a model that writes down its thoughts in between: at each
    round what was found stands in for them. No call of the language model is needed, so a round costs one search more.

    Attributes:
        behind: the search that is asked again and again.
        rounds: searches for each question; 1 changes nothing.
    """

    def __init__(self, behind: Search, rounds: int = 2) -> None:
        """Raises ValueError for less than one round."""
        if rounds < 1:
            raise ValueError(f"There must be at least one round, not {rounds}.")
        self.behind, self.rounds = behind, rounds

    def search(self, questions: Sequence[str], k: int = 3) -> list[list[Ranked]]:
        """At most k passages for each question, about k / rounds new ones a round, in the order in which they were found.

        Scores of different rounds answer different queries and don't compare. An embedder cuts a query that is too long at
        its end (and warns), where the passages stand; the question comes first and is kept.

        Raises:
            TypeError: a single string, or something that is no string.
            ValueError: k < 1, or whatever the search behind refuses.
        """
        asked = check_texts(questions, "question")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        found: list[list[Ranked]] = [[] for _ in asked]
        queries = asked
        for number in range(1, self.rounds + 1):
            upto = k * number // self.rounds
            if not upto:  # fewer passages than rounds
                continue
            for mine, hits in zip(found, self.behind.search(queries, k), strict=True):
                known = {hit.record.id for hit in mine}
                new = [hit for hit in hits if hit.record.id not in known]
                mine.extend(new[: max(0, upto - len(mine))])
            queries = [
                " ".join([question, *(hit.record.text.strip() for hit in mine)])
                for question, mine in zip(asked, found, strict=True)
            ]
        return found
