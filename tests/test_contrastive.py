"""Contrastive training: the loss of the library, a copy that is tuned, a dev test that chooses, and honest splits."""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import world
from memcourse.retrieval import contrastive
from memcourse.retrieval.contrastive import Pair, SearchTest, fine_tune, info_nce, people_pairs, town_pairs

PAIRS = [
    Pair("Who keeps the lighthouse?", "Ada Fell keeps the lighthouse.", "Cy Marl keeps the harbour."),
    Pair("What does Bo drink?", "Bo drinks tea."),
    Pair("Where is the mill?", "The mill stands by the river.", "The market stands by the church."),
    Pair("When is the fair?", "The fair is held in May."),
]
TINY = {"steps": 2, "batch": (3,), "every": 1}


def weights_hash(embedder) -> int:
    """A checksum of all weights; SHA-256 would take most of the time of these tests."""
    total = 0
    for weight in embedder.model.state_dict().values():
        total = zlib.crc32(weight.detach().numpy(), total)
    return total


def likes_none(_) -> float:
    """A dev test for which all states are equal."""
    return 0.0


class Rising:
    """A dev test that likes each state better than the one before, up to the best."""

    def __init__(self, best: int = 99) -> None:
        self.asked, self.best, self.seen = 0, best, []

    def __call__(self, embedder) -> float:
        self.seen.append(weights_hash(embedder))
        self.asked += 1
        return -abs(self.asked - 1 - self.best) / 10


@settings(deadline=None, max_examples=50)  # the first call imports sentence-transformers
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 2), st.sampled_from([0.02, 0.05, 1.0]))
def test_info_nce_is_that_of_sentence_transformers(seed, n, negatives, temperature):
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import cos_sim

    draw = torch.Generator().manual_seed(seed)
    questions, *passages = (3 * torch.randn(n, 5, generator=draw) for _ in range(2 + negatives))
    theirs = MultipleNegativesRankingLoss(None, scale=1 / temperature, similarity_fct=cos_sim)
    wanted = theirs.compute_loss_from_embeddings([questions, *passages], labels=None)
    torch.testing.assert_close(info_nce(questions, torch.cat(passages), temperature), wanted, rtol=1e-4, atol=1e-5)


def test_info_nce_by_hand():
    questions, passages = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[5.0, 0], [3, 4], [0, -1]])
    # cosines: 1, 0.6, 0 and 0, 0.8, -1
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(1.2) + 1))
    second = -math.log(math.exp(1.6) / (1 + math.exp(1.6) + math.exp(-2)))
    assert info_nce(questions, passages, temperature=0.5).item() == pytest.approx((first + second) / 2, abs=1e-6)
    assert info_nce(questions, passages).item() == pytest.approx(info_nce(questions, passages, 0.05).item())


@given(st.integers(1, 5), st.integers(0, 4))
def test_info_nce_of_vectors_that_are_all_alike_is_that_of_a_guess(n, more):
    loss = info_nce(torch.ones(n, 3), torch.ones(n + more, 3))
    assert loss.item() == pytest.approx(math.log(n + more), abs=1e-5)


@pytest.mark.parametrize(("questions", "passages", "temperature"), [(3, 2, 0.1), (2, 2, 0.0), (2, 2, float("nan"))])
def test_info_nce_refuses(questions, passages, temperature):
    with pytest.raises(ValueError, match=f"not {questions} questions, {passages} passages and {temperature}"):
        info_nce(torch.ones(questions, 3), torch.ones(passages, 3), temperature)


def test_a_tuned_copy_is_another_and_leaves_the_given_one_and_all_word_vectors_alone(embedder):
    before, vectors = weights_hash(embedder), embedder.encode([pair.passage for pair in PAIRS])
    tuned = fine_tune(embedder, [PAIRS], Rising(), **TINY, lr=1e-4)
    assert weights_hash(embedder) == before != weights_hash(tuned.embedder) and tuned.embedder.name == "minilm, tuned"
    assert all(p.requires_grad for p in embedder.model.parameters()) and not tuned.embedder.model.training
    np.testing.assert_array_equal(embedder.encode([pair.passage for pair in PAIRS]), vectors)
    old, new = (dict(e.model[0].auto_model.named_parameters()) for e in (embedder, tuned.embedder))
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert "embeddings.word_embeddings.weight" in same and "encoder.layer.5.output.dense.weight" not in same


@pytest.mark.parametrize("best", [0, 1])
def test_the_state_that_the_dev_test_likes_best_is_kept(embedder, best):
    dev = Rising(best)
    tuned = fine_tune(embedder, [PAIRS], dev, **TINY, lr=1e-4)
    assert tuned.steps == best and [step for step, _ in tuned.dev] == [0, 1, 2] and tuned.dev[best][1] == 0
    assert len(set(dev.seen)) == 3 and dev.seen[0] == weights_hash(embedder)
    assert weights_hash(tuned.embedder) == dev.seen[best]


def test_of_equally_good_states_the_first_is_kept_and_the_dev_test_is_asked_every_few_steps(embedder):
    tuned = fine_tune(embedder, [PAIRS], likes_none, steps=4, batch=(2,), every=2)
    assert tuned.dev == [(0, 0.0), (2, 0.0), (4, 0.0)] and tuned.steps == 0
    assert weights_hash(tuned.embedder) == weights_hash(embedder)
    assert [step for step, _ in fine_tune(embedder, [PAIRS], likes_none, steps=3, batch=(2,), every=2).dev] == [0, 2]


def test_tuning_is_reproducible_and_its_batches_are_drawn_by_the_seed(embedder):
    hashes = [
        weights_hash(
            fine_tune(embedder, [PAIRS[:2], PAIRS[2:]], Rising(), steps=2, batch=(2, 1), every=1, seed=seed).embedder
        )
        for seed in (3, 3, 4)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_each_batch_takes_its_share_of_every_source_and_the_rivals_come_last(embedder, monkeypatch):
    seen = []

    def spy(questions, passages, temperature):
        seen.append((questions.detach().numpy(), passages.detach().numpy(), temperature))
        return info_nce(questions, passages, temperature)

    monkeypatch.setattr(contrastive, "info_nce", spy)
    fine_tune(embedder, [PAIRS[1:2], PAIRS[:1]], likes_none, steps=1, batch=(1, 2), temperature=0.2)
    questions, passages, temperature = seen[0]
    wanted = embedder.encode([PAIRS[i].question for i in (1, 0, 0)])
    np.testing.assert_allclose(questions, wanted, atol=1e-5)
    texts = [PAIRS[1].passage, *[PAIRS[0].passage] * 2, *[PAIRS[0].rival] * 2]
    np.testing.assert_allclose(passages, embedder.encode(texts), atol=1e-5)
    assert temperature == 0.2


def test_a_few_steps_lower_the_loss(embedder):
    def loss(e):
        questions, passages = (torch.tensor(e.encode([pair[i] for pair in PAIRS])) for i in (0, 1))
        return info_nce(questions, torch.cat([passages, torch.tensor(e.encode([p.rival for p in PAIRS if p.rival]))])).item()

    tuned = fine_tune(embedder, [PAIRS], lambda e: -loss(e), steps=6, batch=(4,), every=6, lr=1e-4)
    assert tuned.steps == 6 and loss(tuned.embedder) < 0.7 * loss(embedder)


@pytest.mark.parametrize(
    ("sources", "batch", "every", "message"),
    [
        ([], (), 1, r"not \[\] and \(\)"),
        ([PAIRS, []], (2, 2), 1, r"not \[4, 0\]"),
        ([PAIRS], (2, 2), 1, r"not \[4\] and \(2, 2\)"),
        ([PAIRS], (0,), 1, r"and \(0,\)"),
        ([PAIRS], (2,), 0, "every must be at least 1, not 0"),
    ],
)
def test_fine_tune_refuses_before_any_work(sources, batch, every, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(None, sources, likes_none, batch=batch, every=every)


def test_first_hits_by_hand():
    test = SearchTest(
        ("owl food", "ink", "nothing known"), ("owl food here", "ink", "an owl"),
        (frozenset([0]), frozenset([0, 1]), frozenset([0])), ("a", "b", "a"),
    )  # fmt: skip
    vectors = {"owl food": [0, 1], "ink": [1, 0], "nothing known": [1, 0], "owl food here": [0.6, 0.8], "an owl": [0, 1]}

    def encode(texts):
        return np.array([vectors[text] for text in texts])

    np.testing.assert_allclose(test.cosines(encode), [[0.8, 0, 1], [0.6, 1, 0], [0.6, 1, 0]])
    assert test.first_hits(encode).tolist() == [0, 1, 0]
    assert test.first_hits_by_words().tolist() == [1, 1, 0]
    assert test.of_kind("a").tolist() == [True, False, True] and not test.of_kind("c").any()


def test_the_questions_of_pairs_are_asked_of_all_their_passages():
    test = SearchTest.of_pairs(PAIRS)
    assert test.questions == tuple(pair.question for pair in PAIRS) and test.gold == tuple(frozenset([i]) for i in range(4))
    assert test.passages == tuple(pair.passage for pair in PAIRS) and test.of_kind("").shape == (0,)


def test_each_person_and_attribute_make_one_pair():
    kit = world.make_people(6, attributes=4, seed=2)
    people = kit.select("train")
    pairs = people_pairs(people, kit, seed=1)
    asked = [(person, attribute) for person in people for attribute in kit.attributes]
    assert len(pairs) == len(asked) == 12 and all(pair.rival == "" for pair in pairs)
    for pair, (person, attribute) in zip(pairs, asked, strict=True):
        value = person.values[attribute.name]
        assert pair.question in [q.format(name=person.name) for q in attribute.questions]
        assert pair.passage in [s.format(name=person.name, value=value) for s in attribute.statements]
        assert value not in pair.question
    assert pairs == people_pairs(people, kit, seed=1) != people_pairs(people, kit, seed=2)


@pytest.fixture(scope="module")
def town():
    return world.load_world()


def test_the_splits_of_the_town_stay_apart(town):
    pairs = {split: town_pairs(town, split) for split in ("train", "dev", "test")}
    for split, some in pairs.items():
        asked = [q for q in town.select(split=split) if q.passages and q.kind != "unanswerable"]
        assert [pair.question for pair in some] == [q.text for q in asked] and len(some) > 30
        others = {q.text for q in town.questions if q.split != split}
        assert not others & {pair.question for pair in some}
        test = SearchTest.of_town(town, split)
        assert test.questions == tuple(pair.question for pair in some) and len(test.passages) == len(town.passages)
        assert test.kinds == tuple(q.kind for q in asked) and "unanswerable" not in test.kinds
        for pair, question, gold in zip(some, asked, test.gold, strict=True):
            assert gold and {test.passages[place] for place in gold} == {
                town.passages[name].text for name in question.passages
            }
            assert pair.passage == town.passages[question.passages[0]].text
    assert town_pairs(town) == pairs["train"]


def test_a_rival_passage_is_no_right_one_and_stands_at_look_alikes_only(town):
    asked = [q for q in town.select(split="train") if q.passages and q.kind != "unanswerable"]
    with_rival = [(pair, q) for pair, q in zip(town_pairs(town), asked, strict=True) if pair.rival]
    alike = world.look_alikes(town, "train")
    assert [question for _, question in with_rival] == [each.question for each in alike] and len(alike) > 5
    for (pair, question), each in zip(with_rival, alike, strict=True):
        assert pair.rival == town.passages[each.rival_passage].text and each.rival in pair.rival
        assert pair.rival not in [town.passages[name].text for name in question.passages]


def small(town):
    """A few questions of each split, with the documents that they and their look-alikes need."""
    kinds = {
        split: [q for q in town.select(split=split) if q.kind in ("single", "look_alike")]
        for split in ("train", "dev", "test")
    }
    rivals = {each.question.id: each for split in kinds for each in world.look_alikes(town, split)}
    chosen = [
        q for some in kinds.values() for kind in ("single", "look_alike")
        for q in [q for q in some if q.kind == kind and (kind == "single" or q.id in rivals)][:1]
    ]  # fmt: skip
    needed = [name for q in chosen for name in q.passages]
    needed += [rivals[q.id].rival_passage for q in chosen if q.id in rivals]
    documents = {town.passages[name].document for name in needed}
    return dataclasses.replace(
        town, documents=tuple(d for d in town.documents if d.id in documents), questions=tuple(chosen)
    )  # fmt: skip


def test_the_three_arms_in_miniature(embedder, town, monkeypatch):
    few = small(town)
    calls = []

    def watched(given, sources, dev, **how):
        calls.append((given, [[pair.question for pair in source] for source in sources], how))
        return fine_tune(given, sources, dev, **how | {"batch": tuple(2 for _ in sources)})

    monkeypatch.setattr(contrastive.world, "load_world", lambda: few)
    monkeypatch.setattr(contrastive, "fine_tune", watched)
    before, labels = weights_hash(embedder), []
    result = contrastive.tuning(embedder, people=6, steps=1, label=labels.append, every=1)
    assert weights_hash(embedder) == before and labels == ["people", "people and town"]
    wanted = {f"{arm}: {test}" for arm in contrastive.ARMS for test in ("people", "town", "town look-alikes")}
    assert set(result) == wanted | {"dev"} and set(result["dev"]) == set(contrastive.ARMS[1:])
    assert [len(result[f"untuned: {test}"]) for test in ("people", "town", "town look-alikes")] == [3 * 8, 2, 1]
    assert all(set(result[key]) <= {0, 1} for key in wanted)
    assert all([step for step, _ in trace] == [0, 1] for trace in result["dev"].values())
    # both arms start from the same state, and nothing that is asked in a test was trained on
    assert result["dev"]["people"][0] == result["dev"]["people and town"][0] and all(call[0] is embedder for call in calls)
    kit = world.make_people(6, attributes=8)
    tested = {pair.question for pair in people_pairs(kit.select("test"), kit)} | {q.text for q in few.select(split="test")}
    assert [len(sources) for _, sources, _ in calls] == [1, 2]
    for _, sources, how in calls:
        assert sources[0] == [pair.question for pair in people_pairs(kit.select("train")[1:], kit)]
        assert not tested & {question for source in sources for question in source}
        assert (how["steps"], how["every"], how["seed"]) == (1, 1, 0)
    assert set(calls[1][1][1]) == {q.text for q in few.select(split="train")}
    on_people = SearchTest.of_pairs(people_pairs(kit.select("test"), kit))
    np.testing.assert_array_equal(result["untuned: people"], on_people.first_hits(embedder.encode))
    np.testing.assert_array_equal(result["untuned: town"], SearchTest.of_town(few, "test").first_hits(embedder.encode))


def test_the_three_arms_need_people_of_each_kind(embedder):
    with pytest.raises(ValueError, match="at least 6 people, not 5"):
        contrastive.tuning(embedder, people=5, steps=1)
