"""Bits, rounding, recall, texts and their order: the measures of notebook 03, on cases whose answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import weights, world
from memcourse.weights import Batch, GPTShape, Stack, TinyGPT


class Knows(torch.nn.Module):
    """Gives all its probability to the next token of the first of its strings that begins like the text so far."""

    def __init__(self, strings: torch.Tensor, vocab: int, sure: float = 50.0) -> None:
        super().__init__()
        self.strings, self.vocab = strings, vocab
        self.sure = torch.nn.Parameter(torch.tensor(sure))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*ids.shape, self.vocab)
        for row, text in enumerate(ids.tolist()):
            for place in range(len(text) - 1):
                found = [s for s in self.strings.tolist() if s[: place + 1] == text[: place + 1]]
                if found:
                    logits[row, place, found[0][place + 1]] = self.sure
        return logits


def test_a_model_that_knows_nothing_or_everything():
    strings = weights.random_strings(20, 8, 64, seed=1)
    offered = weights.bits_offered(strings, 64)
    assert offered == 20 * 7 * 6
    assert float(weights.bits_kept(Knows(strings, 64, sure=0.0), strings, 64)) == pytest.approx(0, abs=1e-3)
    alone = torch.cat([torch.arange(20)[:, None], strings[:, 1:]], dim=1)  # each cue is its own
    assert float(weights.bits_kept(Knows(alone, 64), alone, 64)) == pytest.approx(offered, rel=1e-6)


def test_strings_are_uniform_nested_and_seeded():
    many = weights.random_strings(4000, 16, 8, seed=3)
    assert torch.equal(many[:50], weights.random_strings(50, 16, 8, seed=3))
    assert not torch.equal(many[:50], weights.random_strings(50, 16, 8, seed=4))
    assert (torch.bincount(many.flatten()) / many.numel() - 1 / 8).abs().max() < 0.005
    for bad in ((0, 16, 8), (5, 1, 8), (5, 16, 1)):
        with pytest.raises(ValueError, match="n >= 1, length >= 2 and vocab >= 2"):
            weights.random_strings(*bad)


@settings(deadline=None)
@given(st.integers(2, 10), st.integers(0, 99))
def test_rounding(bits, seed):
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed))
    matrix[2] = 0
    small = weights.rounded(matrix, bits)
    scale = matrix.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((small - matrix).abs() <= scale / 2 + 1e-6).all(), "the nearest value"
    assert all(len(row.unique()) <= 2**bits - 1 for row in small) and small.isfinite().all()
    assert torch.allclose(weights.rounded(small, bits), small, atol=1e-6), "rounding twice changes nothing"
    assert torch.allclose(small.abs().amax(1), matrix.abs().amax(1), atol=1e-6), "the largest stays"
    assert torch.equal(weights.rounded(-matrix, bits), -small)


def test_rounding_to_one_bit_is_refused():
    with pytest.raises(ValueError, match="at least 2 bits"):
        weights.rounded(torch.ones(2, 2), 1)


def test_a_stack_is_rounded_as_its_members_and_stays_what_it_was():
    many = Stack.built(lambda: TinyGPT(GPTShape(vocab=20, d=16, heads=2)), (0, 1))
    before = {name: w.detach().clone() for name, w in many.stacked().items()}
    small = weights.quantised(many, 4)
    for i in range(2):
        alone = weights.quantised(many.member(i), 4)
        for name, weight in alone.named_parameters():
            assert torch.allclose(weight, small.stacked()[name][i], atol=1e-6), name
            assert (weight.dim() == 1) == torch.equal(weight, before[name][i]), name
    assert all(torch.equal(w, before[name]) for name, w in many.stacked().items())


def greedy(model: TinyGPT, ids: list[int], n: int) -> list[int]:
    for _ in range(n):
        ids = [*ids, int(model(torch.tensor([ids]))[0, -1].argmax())]
    return ids


def test_recalled_is_what_greedy_decoding_gives():
    torch.manual_seed(0)
    model = TinyGPT(GPTShape(vocab=6, d=16, heads=2, window=12))
    prompts = torch.randint(6, (12, 4)).tolist()
    rows = torch.tensor([greedy(model, prompt, 5) for prompt in prompts])
    rows[::3, 6] = (rows[::3, 6] + 1) % 6  # every third differs in one token
    labels = rows.clone()
    labels[:, :4] = -100
    wanted = [greedy(model, row[:4].tolist(), 5) == row.tolist() for row in rows]
    assert weights.recalled(model, Batch(rows, labels)).tolist() == wanted and sum(wanted) == 8


def test_row_nll_is_the_sum_of_the_labels_log_probabilities():
    torch.manual_seed(0)
    model, ids = TinyGPT(GPTShape(vocab=6, d=16, heads=2)), torch.randint(6, (3, 8))
    labels = torch.where(torch.arange(8) < 3, -100, ids)
    logp = model(ids).log_softmax(-1).detach()
    wanted = [-sum(float(logp[r, t - 1, ids[r, t]]) for t in range(3, 8)) for r in range(3)]
    assert weights.row_nll(model, Batch(ids, labels)).tolist() == pytest.approx(wanted, rel=1e-5)


def test_words_and_answers():
    tokenizer = weights.WordTokenizer(["Ada keeps a goat.", "Who keeps a goat? Ada"])
    assert tokenizer.decode(tokenizer.encode("Who keeps a goat?")) == "Who keeps a goat ?" and len(tokenizer) == 8
    told = tokenizer.texts(["Ada keeps a goat.", "goat"])
    assert told.ids.shape == (2, 5) and told.ids[1].tolist()[1:] == [0] * 4 and told.labels[1].tolist()[1:] == [-100] * 4
    asked = tokenizer.answers([("Who keeps a goat?", "Ada"), ("Ada keeps a", "goat")])
    assert [[tokenizer.words[i] for i in row if i > 0] for row in asked.labels.tolist()] == [["Ada"], ["goat"]]
    with pytest.raises(ValueError, match="never saw 'Bob'; build it with all texts"):
        tokenizer.encode("Bob keeps a goat.")
    with pytest.raises(ValueError, match="at least one text"):
        tokenizer.texts([])


def test_each_row_comes_once_an_epoch_and_a_step_always_gives_the_same():
    data = [Batch(torch.arange(n)[:, None], torch.arange(n)[:, None]) for n in (10, 7)]
    batch = weights.shuffled(data, size=5, seed=1)
    rows = torch.cat([batch(step).ids for step in range(14)], dim=1)[..., 0]
    for member, n in enumerate((10, 7)):
        epochs = rows[member].split(n)
        assert all(sorted(epoch.tolist()) == list(range(n)) for epoch in epochs)
        assert len({tuple(epoch.tolist()) for epoch in epochs}) == len(epochs), "in another order each time"
    assert torch.equal(batch(3).ids, weights.shuffled(data, size=5, seed=1)(3).ids)
    assert not torch.equal(batch(3).ids, weights.shuffled(data, size=5, seed=2)(3).ids)
    for bad in (([], 5), (data, 0), ([Batch(torch.zeros(0, 1), torch.zeros(0, 1))], 5)):
        with pytest.raises(ValueError, match="size of at least 1 and rows for every member"):
            weights.shuffled(*bad)


def test_sources_in_turn_and_members_of_different_width():
    turns = weights.in_turn(lambda step: ("a", step), lambda step: ("b", step))
    assert [turns(step) for step in range(5)] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]
    wide = weights.side_by_side([Batch(torch.ones(2, n).long(), torch.ones(2, n).long()) for n in (3, 5)])
    assert wide.ids[0].tolist() == [[1, 1, 1, 0, 0]] * 2 and wide.labels[0, 0].tolist() == [1, 1, 1, -100, -100]


def test_only_values_that_can_be_known_from_the_name_count():
    kit = world.make_people(30, 3, seed=2)
    texts = [text for person in kit.people for text in kit.biographies(person, 12)]
    tokenizer = weights.WordTokenizer(texts)
    batch = weights.values_only(tokenizer, texts, kit)
    people = [person for person in kit.people for _ in range(12)]
    for text, person, ids, labels in zip(texts, people, batch.ids, batch.labels, strict=True):
        counted = {tokenizer.words[i] for i in labels.tolist() if i >= 0}
        words = tokenizer.decode(tokenizer.encode(text)).split()
        named = words.index(person.name.split()[-1])
        late = {value for value in person.values.values() if words.index(value) > named}
        assert counted == late and set(ids.tolist()) >= {i for i in labels.tolist() if i >= 0}
    assert (batch.labels >= 0).sum() > 0.8 * 3 * len(texts)


def test_questions_of_a_split():
    kit = world.make_people(10, 2, seed=2)
    pairs = weights.questions(kit, "test", (0, 2))
    assert len(pairs) == 2 * 5 * 2 and {name for name, _ in pairs} == {
        q.question for wording in (0, 2) for q in kit.questions("test", wording)
    }


def test_each_description_belongs_to_one_person():
    people = world.describe_people(576, seed=1)
    assert len({p.description for p in people}) == len({p.name for p in people}) == 576
    assert world.describe_people(20, seed=1) != world.describe_people(20, seed=2)
    one = people[0]
    for wording in world.FORWARD:
        prompt, answer = one.asked(wording)
        assert one.name in prompt and answer == one.description and one.told(wording).startswith(prompt + answer)
    for wording in world.BACKWARD:
        prompt, answer = one.asked(wording)
        assert one.description in prompt and answer == one.name and one.told(wording).startswith(prompt + answer)
    for n in (0, 577):
        with pytest.raises(ValueError, match="n must be 1 to 576"):
            world.describe_people(n)


def test_o23_no_notebook_and_no_package_needs_worker_processes():
    # a worker on Windows and macOS starts Python anew and can't see what a notebook defined (torch's DataLoader docs)
    root = Path(__file__).parents[1]
    for path in [*(root / "memcourse").rglob("*.py"), *(root / "notebooks").glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        assert "DataLoader" not in text and "num_workers" not in text, path
