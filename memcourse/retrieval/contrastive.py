"""Contrastive training: a question's vector is pulled to its passage's and pushed from all others. Notebook 04."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from memcourse import world
from memcourse.model.embedder import Embedder
from memcourse.progress import Label, Progress, silent
from memcourse.retrieval.bm25 import BM25
from memcourse.retrieval.fitting import fit

Encode = Callable[[Sequence[str]], np.ndarray]  # texts in, unit vectors (n, d) out


def info_nce(questions: Tensor, passages: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean over n questions of -log(softmax of the cosines over all passages, at the question's own passage), in nats.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding" (2018), arXiv
    1807.03748. Cross-checked against sentence-transformers' MultipleNegativesRankingLoss.

    Args:
        questions: (n, d), of any length.
        passages: (m, d), m >= n: row i belongs to question i, rows from n on are further wrong ones.
        temperature: cosines are divided by it; the smaller, the more the nearest wrong passages count.

    Raises:
        ValueError: fewer passages than questions, or a temperature that is not above 0.
    """
    if len(passages) < len(questions) or not temperature > 0:
        raise ValueError(
            f"Each question needs its passage, and the temperature must be above 0; "
            f"not {len(questions)} questions, {len(passages)} passages and {temperature}."
        )
    cosines = normalize(questions, dim=-1) @ normalize(passages, dim=-1).mT
    return cross_entropy(cosines / temperature, torch.arange(len(questions), device=questions.device))


class Pair(NamedTuple):
    """A question, the passage that answers it, and a passage that looks alike and does not ("" for none)."""

    question: str
    passage: str
    rival: str = ""


@dataclass(frozen=True)
class SearchTest:
    """Questions to be answered from passages.

    Attributes:
        questions: n texts. passages: m texts. gold: for each question the places of the right passages.
        kinds: what kind each question is of, where that is known.
    """

    questions: tuple[str, ...]
    passages: tuple[str, ...]
    gold: tuple[frozenset[int], ...]
    kinds: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> np.ndarray:
        """(n,) True where a question is of this kind."""
        return np.array([each == kind for each in self.kinds], dtype=bool)

    def cosines(self, encode: Encode) -> np.ndarray:
        """(n, m) cosine of each question and each passage, for an encoder that gives unit vectors."""
        return encode(self.questions) @ encode(self.passages).T

    def first_hits(self, encode: Encode) -> np.ndarray:
        """(n,) 1 where the nearest passage to a question is a right one, else 0."""
        return self._right(self.cosines(encode).argmax(axis=1).tolist())

    def first_hits_by_words(self) -> np.ndarray:
        """(n,) 1 where the passage with the highest BM25 score is a right one, else 0."""
        found = BM25(self.passages).search(self.questions, 1)
        return self._right([int(hits.ids[0]) if len(hits) else -1 for hits in found])

    def _right(self, places: Sequence[int]) -> np.ndarray:
        return np.array([int(place in right) for place, right in zip(places, self.gold, strict=True)])

    @classmethod
    def of_town(cls, town: world.Collection, split: str) -> SearchTest:
        """The answerable questions of one split, over the passages of all documents."""
        places = {name: place for place, name in enumerate(town.passages)}
        asked = [q for q in town.select(split=split) if q.passages and q.kind != "unanswerable"]
        gold = tuple(frozenset(places[name] for name in question.passages) for question in asked)
        passages = tuple(passage.text for passage in town.passages.values())
        return cls(tuple(q.text for q in asked), passages, gold, tuple(q.kind for q in asked))

    @classmethod
    def of_pairs(cls, pairs: Sequence[Pair]) -> SearchTest:
        """The questions of some pairs over all their passages."""
        return cls(
            tuple(pair.question for pair in pairs), tuple(pair.passage for pair in pairs),
            tuple(frozenset([place]) for place in range(len(pairs))),
        )  # fmt: skip


def people_pairs(people: Sequence[world.Person], kit: world.PeopleKit, seed: int = 0) -> list[Pair]:
    """One question and one sentence that answers it for each person and attribute, each in a random wording.

    All look alike: each name stands in as many sentences as there are attributes, each attribute in as many as people.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for person in people:
        for attribute in kit.attributes:
            filled = {"name": person.name, "value": person.values[attribute.name]}
            question = attribute.questions[rng.integers(len(attribute.questions))]
            statement = attribute.statements[rng.integers(len(attribute.statements))]
            pairs.append(Pair(question.format(**filled), statement.format(**filled)))
    return pairs


def town_pairs(town: world.Collection, split: str = "train") -> list[Pair]:
    """The answerable questions of a split with their passages; look-alike questions also with the rival passage."""
    text = {name: passage.text for name, passage in town.passages.items()}
    rivals = {each.question.id: text[each.rival_passage] for each in world.look_alikes(town, split)}
    return [
        Pair(q.text, text[q.passages[0]], rivals.get(q.id, ""))
        for q in town.select(split=split) if q.passages and q.kind != "unanswerable"
    ]  # fmt: skip


class Tuned(NamedTuple):
    """embedder: the tuned copy, as it was at its best on the dev test. steps: after how many steps. dev: (step, share)."""

    embedder: Embedder
    steps: int
    dev: list[tuple[int, float]]


def fine_tune(
    embedder: Embedder,
    sources: Sequence[Sequence[Pair]],
    dev: Callable[[Embedder], float],
    *,
    steps: int = 40,
    batch: Sequence[int] = (32,),
    lr: float = 3e-5,
    temperature: float = 0.05,
    every: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tuned:
    """Train a copy of an embedder by `info_nce`, and keep the state that the dev test likes best (the first of equals).

    Step 0, the untuned embedder, stands for election too. Word vectors stay as they are: few words occur in so few pairs.

    Args:
        sources: lists of pairs; each batch takes `batch[i]` random pairs of source i.
        every: the dev test is asked after so many steps, and again after each multiple of them.

    Raises:
        ValueError: an empty source, not one batch size for each, or every < 1; also as for `fit` and `info_nce`.
    """
    _check(sources, batch)
    if every < 1:
        raise ValueError(f"The dev test can be asked after every step at most: every must be at least 1, not {every}.")
    model = copy.deepcopy(embedder.model)
    tuned = Embedder(model, f"{embedder.name}, tuned")
    model[0].auto_model.get_input_embeddings().weight.requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    trace: list[tuple[int, float]] = []
    best: dict[str, Tensor] = {}

    def encode(texts: list[str]) -> Tensor:
        inputs = model.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
        return model(dict(inputs))["sentence_embedding"]

    def examine(step: int) -> bool:
        nonlocal best
        if step % every == 0:
            share = dev(tuned)
            if not trace or share > max(value for _, value in trace):
                best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            trace.append((step, share))
        return False

    def loss(step: int) -> Tensor:
        chosen = _drawn(sources, batch, draw)
        passages = [pair.passage for pair in chosen] + [pair.rival for pair in chosen if pair.rival]
        return info_nce(encode([pair.question for pair in chosen]), encode(passages), temperature)

    # Dropout stays off: with so few steps it only adds noise.
    model.eval()
    fit([p for p in model.parameters() if p.requires_grad], loss, steps, lr, done=examine, progress=progress)
    if steps % every == 0:
        examine(steps)
    model.load_state_dict(best)
    return Tuned(tuned, max(trace, key=lambda pair: (pair[1], -pair[0]))[0], trace)


def _check(sources: Sequence[Sequence[Pair]], batch: Sequence[int]) -> None:
    if not sources or not all(sources) or len(batch) != len(sources) or min(batch) < 1:
        raise ValueError(
            f"Each source needs pairs and a batch size of at least 1, not {list(map(len, sources))} and {batch}."
        )


def _drawn(sources: Sequence[Sequence[Pair]], sizes: Sequence[int], draw: torch.Generator) -> list[Pair]:
    """So many random pairs of each source."""
    return [
        source[i]
        for source, size in zip(sources, sizes, strict=True)
        for i in torch.randint(len(source), (size,), generator=draw).tolist()
    ]


ARMS = ("untuned", "people", "people and town")


def tuning(
    embedder: Embedder, people: int, steps: int, seed: int = 0, label: Label = silent, *, lr: float = 1e-4, every: int = 15
) -> dict[str, Any]:
    """Three embedders (`ARMS`) on three tests that none was trained on: untuned, tuned on people, and on people and town.

    Of the people, half are for the test; of the others a third are for the dev test. Town questions have their own splits.
    The dev test is the mean of both dev shares; the rate was chosen by it, too.

    Returns:
        For each arm "<arm>: people", "<arm>: town" and "<arm>: town look-alikes", (n,) of 0 and 1: the nearest passage is a
        right one; and "dev": for each tuned arm its list of (step, share).

    Raises:
        ValueError: fewer than 6 people; also as for `fine_tune`.
    """
    if people < 6:
        raise ValueError(f"For training, dev test and test there must be at least 6 people, not {people}.")
    town, kit = world.load_world(), world.make_people(people, attributes=8, seed=seed)
    known, unseen = kit.select("train"), kit.select("test")
    dev_people, taught = known[: len(known) // 3], known[len(known) // 3 :]
    on_people, on_town = SearchTest.of_pairs(people_pairs(unseen, kit, seed)), SearchTest.of_town(town, "test")
    developing = (SearchTest.of_pairs(people_pairs(dev_people, kit, seed)), SearchTest.of_town(town, "dev"))
    sources = [people_pairs(taught, kit, seed), town_pairs(town)]
    result: dict[str, Any] = {"dev": {}}
    for arm in ARMS:
        tuned = embedder
        if arm != ARMS[0]:
            chosen, batch = (sources[:1], (16,)) if arm == ARMS[1] else (sources, (16, 8))
            trained = fine_tune(
                embedder, chosen, lambda e: float(np.mean([test.first_hits(e.encode).mean() for test in developing])),
                steps=steps, batch=batch, lr=lr, every=every, seed=seed, progress=label(arm),
            )  # fmt: skip
            tuned, result["dev"][arm] = trained.embedder, trained.dev
        found = on_town.first_hits(tuned.encode)
        result |= {f"{arm}: people": on_people.first_hits(tuned.encode), f"{arm}: town": found}
        result[f"{arm}: town look-alikes"] = found[on_town.of_kind("look_alike")]
    return result
