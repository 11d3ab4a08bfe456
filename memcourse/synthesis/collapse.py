"""Model collapse: models that learn from what models wrote, generation after generation, lose what was rare.

Source: Shumailov et al., "AI models collapse when trained on recursively generated data" (Nature, 2024); that real data kept
beside the written data prevents it: Gerstgrasser et al., "Is Model Collapse Inevitable?" (2024), arXiv 2404.01413.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from memcourse.progress import Label, silent
from memcourse.weights.gpt import GPTShape, TinyGPT
from memcourse.weights.loss import IGNORED, Batch, row_nll
from memcourse.weights.stack import Stack
from memcourse.weights.training import Recipe, train
from memcourse.weights.words import WordTokenizer, shuffled, side_by_side
from memcourse.world import make_people

ARMS = ("its own output only", "some real texts kept", "all texts kept")  # what each generation is trained on
MEASURES = ("distinct", "entropy", "tail", "true", "ngrams", "loss", "rare loss")
ROWS = 1024  # texts that are written, or measured, at a time
GRAM = 3  # words of an n-gram
SIZE = 32  # texts of a training step


class LongTail(NamedTuple):
    """Real texts, a few of which tell of what the others don't.

    Attributes:
        texts: to train the first generation on.
        held_out: other texts of the same source, on which losses are measured.
        values: what is followed, names of people say, each with the words that are true of it ("" if there are none).
    """

    texts: Sequence[str]
    held_out: Sequence[str]
    values: Mapping[str, str]


def long_tail(n: int = 400, people: int = 80, exponent: float = 1.0, wordings: int = 3, seed: int = 0) -> LongTail:
    """n sentences, and n more held out, on the trades of invented people, a few of whom are spoken of most.

    The person of rank r is spoken of in proportion to r^-exponent (Zipf's law), each time in one of `wordings` wordings.

    Raises:
        ValueError: n < 1, an exponent below 0, or more people or wordings than there are.
    """
    kit = make_people(people, ["trade"], seed=seed)
    (trade,) = kit.attributes
    if n < 1 or not 0 <= exponent < np.inf or not 1 <= wordings <= len(trade.statements):
        raise ValueError(
            f"n must be at least 1, the exponent a number from 0 on, and wordings 1 to {len(trade.statements)}; "
            f"not {n}, {exponent}, {wordings}."
        )
    rng = np.random.default_rng([seed, n])
    weights = np.arange(1, people + 1) ** -float(exponent)
    told = zip(rng.choice(people, 2 * n, p=weights / weights.sum()), rng.integers(wordings, size=2 * n), strict=True)
    texts = [trade.statements[w].format(name=kit.people[i].name, value=kit.people[i].values["trade"]) for i, w in told]
    return LongTail(texts[:n], texts[n:], {person.name: person.values["trade"] for person in kit.people})


def model_collapse(
    sources: Sequence[LongTail], seeds: Sequence[int], generations: int = 5, steps: int = 200, *, kept: float = 0.2,
    rare: int = 2, d: int = 32, lr: float = 2e-2, device: str = "cpu", progress: Label = silent,
) -> dict[str, Any]:  # fmt: skip
    """Train a model on real texts, let it write as many, train a fresh model on these, and so on, in three arms.

    Generation 0 is trained on the real texts, in all arms. Each later one is a fresh TinyGPT (one block, width d), trained
    for as many steps; on what the last generation wrote; or on the first `kept` of the real texts, always the same, and for
    the rest on what the last generation wrote; or on all texts so far, real and written. The models sample at temperature 1.
    Within one seed, all arms begin with the same weights.

    Args:
        sources: one for each seed, with as many texts and held-out texts each; their words are the models' tokens.
        kept: share of the real texts that the second arm keeps, above 0 and below 1.
        rare: a value is rare if so many of the real texts tell of it, or fewer, but at least one.

    Returns: arrays (arms, generations + 1, seeds), of the texts that each generation wrote: "distinct", how many values;
        "entropy" of these in nats, so its exponential is an effective number of values; "tail", the share of rare values
        that are still told of; "true", the share of texts with a value and what is true of it; "ngrams", how many runs
        of three tokens; and of each model on held-out real texts, in nats a token: "loss", and "rare loss" on the texts
        that tell of a rare value. The same, but for losses, of the real texts as "real distinct" and so on (seeds,), and of
        the held-out ones as "fresh distinct": drawing as many texts again from the source itself loses of the rare, too.
        And "rare" (seeds,), the number of rare values.

    Raises:
        ValueError: sources that don't fit the seeds or each other, values that no text tells of, none that is rare, or a
            size that makes no sense.
    """
    corpora = _read(sources, seeds, rare)
    if generations < 1 or not 0 < kept < 1:
        raise ValueError(f"generations must be at least 1, and kept lie between 0 and 1; not {generations} and {kept}.")
    real = [corpus.texts for corpus in corpora]
    shape = GPTShape(corpora[0].vocab, d, layers=1, heads=2, d_ff=2 * d, window=real[0].shape[1])
    recipe = Recipe(steps, lr=lr, betas=(0.9, 0.98))
    found: dict[str, list[Any]] = {name: [] for name in MEASURES}
    written: list[list[Tensor]] = []  # by each generation, for each member: arm by arm, in each its seeds
    for generation in range(generations + 1):
        arms = len(ARMS) if generation else 1
        data = [_next(arm, i, real, written, kept) for arm in range(arms) for i in range(len(real))]
        # a member's weights and draws depend on its seed and generation alone: arms differ by their texts
        draws = [seed + 1000 * generation for seed in seeds] * arms
        stack = Stack.built(lambda: TinyGPT(shape), draws).to(device)
        batch = shuffled([_batch(rows) for rows in data], min(SIZE, len(real[0])), seeds[0])
        train(stack, batch, recipe, progress=progress(f"generation {generation}"))
        texts = sample_texts(stack, len(real[0]), shape.window, draws)
        measured = _measured(stack, texts, corpora * arms)
        again = len(ARMS) // arms  # generation 0 is the same in all arms
        written.append(texts * again)
        for name in MEASURES:
            found[name].append(np.reshape([m[name] for m in measured] * again, (len(ARMS), len(seeds))))
    result = {name: np.stack(values, axis=1) for name, values in found.items()}
    for kind, texts in (("real", [c.texts for c in corpora]), ("fresh", [c.held_out for c in corpora])):
        told = [told_of(rows, corpus) for rows, corpus in zip(texts, corpora, strict=True)]
        result |= {f"{kind} {name}": np.array([m[name] for m in told]) for name in told[0]}
    return result | {"rare": np.array([len(corpus.rare) for corpus in corpora])}


class Corpus(NamedTuple):
    """A `LongTail` in token ids; a text begins with a 0 and ends with one, and more zeros fill its row.

    Attributes:
        texts, held_out: (n, width) token ids each.
        values: the ids of each value, with those of what is true of it.
        rare: the values that are rare in the texts.
        vocab: number of tokens, of all corpora together.
    """

    texts: Tensor
    held_out: Tensor
    values: dict[tuple[int, ...], tuple[int, ...]]
    rare: frozenset[tuple[int, ...]]
    vocab: int


def _read(sources: Sequence[LongTail], seeds: Sequence[int], rare: int) -> list[Corpus]:
    sizes = {(len(source.texts), len(source.held_out)) for source in sources}
    if not seeds or len(sources) != len(seeds) or len(sizes) != 1 or 0 in next(iter(sizes)):
        raise ValueError(
            f"Each seed needs a source, and all sources as many texts, and as many held-out texts, as each other; got "
            f"{len(seeds)} seeds and {len(sources)} sources with {sorted(sizes)} texts."
        )
    tokenizer = WordTokenizer([text for source in sources for text in (*source.texts, *source.held_out)])
    encoded = [[[tokenizer.encode(text) for text in texts] for texts in (s.texts, s.held_out)] for s in sources]
    width = 2 + max(len(ids) for pair in encoded for texts in pair for ids in texts)
    corpora = []
    for i, (source, pair) in enumerate(zip(sources, encoded, strict=True)):
        values = {_ids(tokenizer, value): _ids(tokenizer, true) for value, true in source.values.items()}
        values.pop((), None)
        counts = Counter(value for told in _told(pair[0], values) for value in told)
        few = frozenset(value for value, count in counts.items() if count <= rare)
        if not any(few & told for told in _told(pair[1], values)):
            raise ValueError(
                f"Source {i} can't show what becomes of the rare: its texts tell of {len(counts)} of its "
                f"{len(source.values)} values, of {len(few)} in at most {rare} texts, and no held-out text tells of one of "
                f"these. Give more texts, or a larger number for rare."
            )
        texts, held_out = (torch.tensor([[0, *ids, *[0] * (width - 1 - len(ids))] for ids in rows]) for rows in pair)
        corpora.append(Corpus(texts, held_out, values, few, len(tokenizer)))
    return corpora


def _ids(tokenizer: WordTokenizer, words: str) -> tuple[int, ...]:
    """The ids of some words; -1, which no text holds, where one of them stands in no text."""
    try:
        return tuple(tokenizer.encode(words))
    except ValueError:
        return (-1,)


def told_of(rows: Tensor, corpus: Corpus) -> dict[str, float]:
    """What texts (n, width) tell of a corpus' values: the first five of `MEASURES`."""
    texts = [_tokens(row) for row in rows.tolist()]
    told = _told(texts, corpus.values)
    counts = Counter(value for values in told for value in values)
    shares = np.array(list(counts.values())) / max(1, counts.total())
    facts = [[corpus.values[value] for value in values] for values in told]
    true = [any(not f or f in _grams(text, len(f)) for f in some) for text, some in zip(texts, facts, strict=True)]
    return {
        "distinct": len(counts),
        "entropy": float(np.sum(shares * np.log(1 / shares))),
        "tail": len(corpus.rare & counts.keys()) / len(corpus.rare),
        "true": float(np.mean(true)),
        "ngrams": len({gram for text in texts for gram in _grams(text, GRAM)}),
    }


def _tokens(row: list[int]) -> list[int]:
    """The tokens of a text, without the 0 before it and what stands from its end on."""
    return row[1 : [*row, 0].index(0, 1)]


def _grams(text: Sequence[int], size: int) -> set[tuple[int, ...]]:
    return set(zip(*(text[i:] for i in range(size)), strict=False))


def _told(texts: Sequence[Sequence[int]], values: Mapping[tuple[int, ...], Any]) -> list[set[tuple[int, ...]]]:
    """Which values stand in each text."""
    sizes = {len(value) for value in values}
    return [{gram for size in sizes for gram in _grams(text, size) if gram in values} for text in texts]


def _batch(rows: Tensor) -> Batch:
    """Texts (..., n, width) of which every token after the first 0 counts up to the 0 that ends them, and it too."""
    ended = (rows[..., 1:] == 0).cumsum(-1) - (rows[..., 1:] == 0).long()
    labels = torch.full_like(rows, IGNORED)
    labels[..., 1:] = torch.where(ended == 0, rows[..., 1:], IGNORED)
    return Batch(rows, labels)


def _next(arm: int, member: int, real: Sequence[Tensor], written: Sequence[Sequence[Tensor]], kept: float) -> Tensor:
    """What a generation's member is trained on: (texts, width); the real texts, as long as nothing is written."""
    texts = real[member % len(real)]
    made = [generation[arm * len(real) + member] for generation in written]
    if not made or arm == 2:
        return torch.cat([texts, *made])
    few = max(1, round(kept * len(texts))) if arm == 1 else 0
    return torch.cat([texts[:few], made[-1][: len(texts) - few]])


@torch.no_grad()
def sample_texts(stack: Stack, n: int, width: int, seeds: Sequence[int]) -> list[Tensor]:
    """n texts (n, width) of each member, token after token at temperature 1; one that doesn't end within width is cut.

    Raises:
        ValueError: not one seed for each member.
    """
    if len(seeds) != stack.members:
        raise ValueError(f"The stack has {stack.members} members and needs as many seeds, not {len(seeds)}.")
    device = next(stack.parameters()).device
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    parts = []
    for start in range(0, n, ROWS):
        rows = torch.zeros(stack.members, min(ROWS, n - start), width, dtype=torch.long, device=device)
        going = torch.ones(rows.shape[:2], dtype=torch.bool, device=device)
        for place in range(1, width):
            chances = stack(rows[..., :place])[..., -1, :].softmax(-1).cpu()
            drawn = [torch.multinomial(p, 1, generator=g) for p, g in zip(chances, draws, strict=True)]
            rows[..., place] = torch.stack(drawn)[..., 0].to(device) * going
            going &= rows[..., place] != 0
            if not going.any():
                break
        parts.append(rows.cpu())
    return list(torch.cat(parts, dim=1))


def _measured(stack: Stack, texts: Sequence[Tensor], corpora: Sequence[Corpus]) -> list[dict[str, float]]:
    """Of each member the `MEASURES`: of what it wrote, and its losses on held-out texts."""
    batch = side_by_side([_batch(corpus.held_out) for corpus in corpora])
    parts = [Batch(*(part[:, start : start + ROWS] for part in batch)) for start in range(0, batch.ids.shape[1], ROWS)]
    nll = torch.cat([row_nll(stack, part).cpu() for part in parts], dim=1).double()
    tokens = (batch.labels[..., 1:] != IGNORED).sum(-1)
    found = []
    for rows, corpus, losses, counts in zip(texts, corpora, nll, tokens, strict=True):
        held_out = [_tokens(row) for row in corpus.held_out.tolist()]
        few = torch.tensor([bool(told & corpus.rare) for told in _told(held_out, corpus.values)])
        means = {"loss": losses.sum() / counts.sum(), "rare loss": losses[few].sum() / counts[few].sum()}
        found.append(told_of(rows, corpus) | {name: float(mean) for name, mean in means.items()})
    return found
