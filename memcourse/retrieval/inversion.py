"""Reading texts back out of their vectors: a small decoder guesses, and its guesses are corrected by embedding them again.

After Morris et al., "Text Embeddings Reveal (Almost) As Much As Text" (2023), arXiv 2310.06816, whose decoder and corrector
are transformers for open text; here sentences of a few hundred words are read by a network of three layers. Notebook 04.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from memcourse import world
from memcourse.model.embedder import Embedder
from memcourse.progress import Label, Progress, silent
from memcourse.retrieval.embedding import unit
from memcourse.retrieval.fitting import fit

Encode = Callable[[Sequence[str]], np.ndarray]
_END = ""
_TOKEN = re.compile(r"\w+|[^\w\s]")


class Secret(NamedTuple):
    """A sentence that somebody embedded, with the person and the value that it tells, and a question that it answers."""

    text: str
    name: str
    value: str
    question: str


def secrets(n: int, n_test: int, seed: int = 0) -> tuple[list[Secret], list[Secret]]:
    """n training and n_test test sentences on invented people; no person is in both, though first and last names are.

    All attributes and wordings of the people kit occur in both.
    """
    rng = np.random.default_rng(seed)
    kit = world.make_people(2400, attributes=8, test_share=0.1, seed=seed)

    def some(split: str, m: int) -> list[Secret]:
        people = kit.select(split)
        cells = len(people) * len(kit.attributes)  # of the table: no fact is told twice, so each question has one answer
        found = []
        for cell in rng.choice(cells, size=m, replace=m > cells).tolist():
            person, attribute = people[cell // len(kit.attributes)], kit.attributes[cell % len(kit.attributes)]
            wording, value = attribute.statements[rng.integers(len(attribute.statements))], person.values[attribute.name]
            question = attribute.questions[rng.integers(len(attribute.questions))].format(name=person.name)
            found.append(Secret(wording.format(name=person.name, value=value), person.name, value, question))
        return found

    return some("train", n), some("test", n_test)


class Inverter(nn.Module):
    """From a vector (n, d) to logits for the word at each place, (n, places, words): all places at once.

    Attributes:
        vocabulary: the words and signs that it can write; the first one ends a text.
    """

    def __init__(self, texts: Sequence[str], d: int, hidden: int = 512, width: int = 128) -> None:
        """A decoder for texts made of the words of `texts`, at most as long as the longest of them."""
        super().__init__()
        rows = [_TOKEN.findall(text) for text in texts]
        self.vocabulary = [_END, *sorted({token for row in rows for token in row})]
        self._number = {token: i for i, token in enumerate(self.vocabulary)}
        self.places = max(map(len, rows)) + 1
        self.width = width
        # numbers of a unit vector are about 1 / sqrt(d): brought to about 1
        self.scale = d**0.5
        self.reader = nn.Sequential(
            nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, self.places * width)
        )  # fmt: skip
        self.writer = nn.Linear(width, len(self.vocabulary))

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits (n, places, words) for vectors (n, d)."""
        return self.writer(self.reader(vectors * self.scale).unflatten(-1, (self.places, self.width)))

    def numbers(self, texts: Sequence[str]) -> Tensor:
        """(n, places) word numbers; a word that is not in the vocabulary counts as the end, which is never right."""
        rows = [[self._number.get(token, 0) for token in _TOKEN.findall(text)][: self.places] for text in texts]
        return torch.tensor([row + [0] * (self.places - len(row)) for row in rows])

    def text(self, numbers: Sequence[int]) -> str:
        """The text of one row of word numbers: words with a space between, signs without one before them."""
        tokens = [self.vocabulary[i] for i in numbers if i]
        return re.sub(r" ([.,;:!?'])( s\b)?", lambda m: m[1] + (m[2] or "").strip(), " ".join(tokens))


def train_inverter(
    texts: Sequence[str],
    vectors: np.ndarray,
    *,
    steps: int = 500,
    batch: int = 256,
    lr: float = 2e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inverter:
    """An `Inverter` trained to write each text from its unit vector (n, d).

    Raises:
        ValueError: not one vector for each text.
    """
    if len(texts) != len(vectors) or not len(texts):
        raise ValueError(f"Each text needs its vector; there are {len(texts)} texts and {len(vectors)} vectors.")
    torch.manual_seed(seed)
    inverter = Inverter(texts, vectors.shape[1])
    targets, inputs = inverter.numbers(texts), torch.tensor(vectors, dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)

    def loss(step: int) -> Tensor:
        chosen = torch.randint(len(texts), (batch,), generator=draw)
        return cross_entropy(inverter(inputs[chosen]).flatten(0, 1), targets[chosen].flatten())

    fit(inverter.parameters(), loss, steps, lr, progress=progress)
    return inverter


@torch.no_grad()
def correct(
    inverter: Inverter, vectors: np.ndarray, encode: Encode, *, rounds: int = 4, alternatives: int = 24,
    progress: Progress | None = None,
) -> list[list[str]]:  # fmt: skip
    """The guesses after 0, 1, ... `rounds` rounds of correction: (rounds + 1) lists of n texts.

    In each round the guess is changed in one word, in the `alternatives` ways that the decoder holds likeliest; each change
    is embedded, and the text whose vector lies nearest to the given one is kept. So a guess never gets farther away. It
    needs the embedder, as any attacker has it who knows which model made the vectors.
    """
    logits = inverter(torch.tensor(vectors, dtype=torch.float32)).log_softmax(-1)
    guesses = logits.argmax(-1)
    texts = [inverter.text(row) for row in guesses.tolist()]
    nearest = _cosines(encode, texts, vectors)
    history = [texts]
    for done in range(rounds):
        changed = [_changes(row, guess, alternatives) for row, guess in zip(logits, guesses, strict=True)]
        candidates = [inverter.text(row) for rows in changed for row in rows.tolist()]
        owners = np.repeat(np.arange(len(vectors)), [len(rows) for rows in changed])
        cosines = _cosines(encode, candidates, vectors[owners])
        places = np.concatenate([np.arange(len(rows)) for rows in changed])
        texts = list(texts)
        for i in np.argsort(cosines, kind="stable"):  # the best of each owner comes last
            owner = owners[i]
            if cosines[i] > nearest[owner]:
                texts[owner], nearest[owner] = candidates[i], cosines[i]
                guesses[owner] = changed[owner][places[i]]
        history.append(texts)
        if progress is not None:
            progress(done + 1, rounds)
    return history


def _cosines(encode: Encode, texts: Sequence[str], vectors: np.ndarray) -> np.ndarray:
    """(n,) cosine of each text's vector and the given one; -1 for an empty text, which no embedder takes."""
    written = [i for i, text in enumerate(texts) if text]
    cosines = np.full(len(texts), -1.0)
    cosines[written] = np.einsum("ij,ij->i", encode([texts[i] for i in written]), vectors[written])
    return cosines


def _changes(logits: Tensor, guess: Tensor, alternatives: int) -> Tensor:
    """(m, places) the likeliest ways to write one word of a guess differently, by log-probability lost."""
    lost = logits - logits.gather(-1, guess.unsqueeze(-1))
    lost.scatter_(-1, guess.unsqueeze(-1), -torch.inf)
    best = lost.flatten().topk(alternatives).indices
    rows = guess.repeat(alternatives, 1)
    rows[torch.arange(alternatives), best // logits.shape[-1]] = best % logits.shape[-1]
    return rows


class Read(NamedTuple):
    """What was read back of n texts, as arrays of 0 and 1: the whole text, the full name, the value that it tells."""

    exact: np.ndarray
    name: np.ndarray
    value: np.ndarray


def compare(guesses: Sequence[str], told: Sequence[Secret]) -> Read:
    """Compare guesses with the texts that were embedded, word by word (spaces don't count)."""
    tokens = [set(_TOKEN.findall(guess)) for guess in guesses]
    return Read(
        np.array([int(_TOKEN.findall(g) == _TOKEN.findall(s.text)) for g, s in zip(guesses, told, strict=True)]),
        np.array([int(set(s.name.split()) <= t) for t, s in zip(tokens, told, strict=True)]),
        np.array([int(s.value in t) for t, s in zip(tokens, told, strict=True)]),
    )


def noisy(vectors: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """Unit vectors (n, d) with Gaussian noise of expected length `noise` added, and brought back to length 1."""
    if not noise:
        return vectors
    rng = np.random.default_rng(seed)
    return unit(vectors + noise / vectors.shape[1] ** 0.5 * rng.standard_normal(vectors.shape)).astype(np.float32)


class Attack(NamedTuple):
    """How large the experiment is.

    Attributes:
        train, test: sentences that the decoder is trained on, and others, on other people, that are read back.
        steps: of the decoder's training. rounds: of correction.
        noise: lengths of the noise, at least one, against which the same attack is repeated.
        noise_test: on how many of the test sentences that is done.
    """

    train: int
    test: int
    steps: int
    rounds: int
    noise: Sequence[float]
    noise_test: int


def invert(embedder: Embedder, attack: Attack, seed: int = 0, label: Label = silent) -> dict[str, Any]:
    """Read embedded sentences on unseen people back, from clean vectors and from noisy ones.

    The attacker trains on clean vectors and corrects with the embedder, whatever noise there is. What noise costs the owner
    is measured by searching the noisy vectors with questions, which are embedded without noise.

    Returns:
        "exact", "name", "value": (rounds + 1, test) of 0 and 1, for clean vectors; "told", "read": texts and last guesses;
        "noisy name", "noisy recall": (levels, noise_test) of 0 and 1: the full name was read back after all rounds, and the
        question found its sentence first.
    """
    train, test = secrets(attack.train, attack.test, seed)
    told, some = [secret.text for secret in train], test[: attack.noise_test]
    inverter = train_inverter(
        told, embedder.encode(told), steps=attack.steps, seed=seed, progress=label("train the decoder")
    )
    vectors = embedder.encode([secret.text for secret in test])
    history = correct(inverter, vectors, embedder.encode, rounds=attack.rounds, progress=label("correct"))
    found = [compare(guesses, test) for guesses in history]
    result: dict[str, Any] = {key: np.stack([getattr(read, key) for read in found]) for key in Read._fields}
    result |= {"told": [secret.text for secret in test], "read": history[-1]}
    queries, report = embedder.encode([secret.question for secret in some]), label("the same with noise")
    names, recall = [], []
    for i, level in enumerate(attack.noise):
        stored = noisy(vectors[: len(some)], level, seed=seed + i)
        read = correct(inverter, stored, embedder.encode, rounds=attack.rounds)[-1] if level else history[-1][: len(some)]
        names.append(compare(read, some).name)
        recall.append(((queries @ stored.T).argmax(1) == np.arange(len(some))).astype(int))
        if report is not None:
            report(i + 1, len(attack.noise))
    return result | {"noisy name": np.stack(names), "noisy recall": np.stack(recall)}
