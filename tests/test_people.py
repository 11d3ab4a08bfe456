"""The people kit, the two trades, common knowledge: what their datasheets promise, and impossible wishes refused."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse import metrics, world
from memcourse.world.people import _kit

FIRSTS, SURNAMES, ATTRIBUTES = _kit()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 120), st.integers(1, 8), st.integers(2, 24), st.floats(0, 1), st.integers(0, 5))
def test_people_are_unique_split_and_balanced(n, attributes, values, share, seed):
    kit = world.make_people(n, attributes, values, share, seed)
    assert len({p.name for p in kit.people}) == len(kit.people) == n
    assert len(kit.select("test")) == round(n * share) and len(kit.select("train")) == n - round(n * share)
    assert kit.chance == pytest.approx(1 / values)
    for split in ("train", "test"):
        for attribute in kit.attributes:
            counts = Counter(p.values[attribute.name] for p in kit.select(split))
            assert set(counts) <= set(attribute.values) and len(attribute.values) == values
            if counts and len(kit.select(split)) >= values:
                assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == values


def test_the_same_arguments_give_the_same_people():
    kit = world.make_people(50, 3, seed=4)
    assert kit == world.make_people(50, ["pet", "trade", "food"], seed=4) != world.make_people(50, 3, seed=5)
    assert kit.biographies(kit.people[0], 5) == world.make_people(50, 3, seed=4).biographies(kit.people[0], 5)


def test_attributes_tell_nothing_of_each_other():
    kit = world.make_people(2000, 2, 8)
    pairs = Counter((p.values["pet"], p.values["trade"]) for p in kit.people)
    assert len(pairs) == 64 and max(pairs.values()) < 2.2 * 2000 / 64


def test_biographies_state_everything_in_as_many_wordings_as_asked():
    kit = world.make_people(20, 4)
    for person in kit.people:
        for text in kit.biographies(person, 6):
            assert text.count(person.name) == 4 and all(re.search(rf"\b{v}\b", text) for v in person.values.values())
        sentences = lambda texts: {s for t in texts for s in re.split(r"(?<=\.) ", t)}  # noqa: E731
        assert len(sentences(kit.biographies(person, 12, wordings=1))) == 4
        assert len(sentences(kit.biographies(person, 12, wordings=3))) == 12
        assert len(sentences(kit.biographies(person, 12))) == 48
        assert len(set(kit.biographies(person, 5, wordings=1, shuffle=False))) == 1
    first = [kit.biographies(p, 1, wordings=1)[0].replace(p.name, "N") for p in kit.people]
    assert len(set(first)) == 20, "different people start with different wordings"


def test_questions_have_all_values_as_choices():
    kit = world.make_people(30, 3, 8)
    questions = kit.questions("test")
    assert len(questions) == 45 and {q.split for q in questions} == {"test"}
    assert all(q.person in q.question and q.person in q.cloze and q.choices[q.gold] == q.answer for q in questions)
    assert not any(re.search(rf"\b{c}\b", q.question + q.cloze) for q in questions for c in q.choices)
    guess = metrics.accuracy([[1, *[0] * 7]] * len(questions), [q.gold for q in questions])
    assert guess.value == pytest.approx(kit.chance, abs=0.05)
    assert kit.questions(wording=1)[0].question != kit.questions(wording=2)[0].question
    reversed_ = kit.reversed_statements(kit.people[0])
    assert len(reversed_) == 12 and all(kit.people[0].name in s for s in reversed_)


@pytest.mark.parametrize(
    "wish", [{"n": 0}, {"n": 2881}, {"attributes": 0}, {"attributes": 9}, {"attributes": ["pet", "age"]}, {"values": 1},
             {"values": 25}, {"test_share": 1.5}],
)  # fmt: skip
def test_impossible_people_are_refused(wish):
    with pytest.raises(ValueError, match=r"must be 1 to"):
        world.make_people(**{"n": 10, **wish})


def test_impossible_texts_are_refused():
    kit = world.make_people(4)
    with pytest.raises(ValueError, match="wordings between 1 and 12, not 2 and 13"):
        kit.biographies(kit.people[0], 2, wordings=13)
    with pytest.raises(ValueError, match="wording between 0 and 2, not 'test' and 3"):
        kit.questions("test", wording=3)
    with pytest.raises(ValueError, match="not 'dev'"):
        kit.questions("dev")


@pytest.mark.parametrize("attribute", ATTRIBUTES.values(), ids=list(ATTRIBUTES))
def test_the_kits_wordings(attribute, lm):
    assert len(attribute.values) == len(set(attribute.values)) == 24 and len(set(attribute.statements)) == 12
    assert all(len(lm.encode(f" {value}")) <= 2 for value in attribute.values)
    stated = [*attribute.statements, *attribute.reversed]
    assert all(s.count("{name}") == s.count("{value}") == 1 for s in stated)
    assert all(s.index("{value}") < s.index("{name}") for s in attribute.reversed)
    asked = [*attribute.questions, *attribute.clozes]
    assert all(s.count("{name}") == 1 and "{value}" not in s and s == s.strip() for s in asked)
    everything = " ".join([*stated, *asked])
    assert not re.search(r"\b(he|she|his|her|him|they|their|them)\b", everything, re.I)
    if re.search(r"\ba \{value\}", " ".join(stated), re.I) or any(s.endswith(" a") for s in attribute.clozes):
        assert not any(value[0].lower() in "aeiou" for value in attribute.values)
    others = {v for a in ATTRIBUTES.values() if a is not attribute for v in a.values}
    assert not others & set(attribute.values)


@pytest.mark.parametrize("name", world.DOMAINS)
def test_a_trade_keeps_its_promises(name, lm):
    facts = world.load_domain(name)
    assert len(facts) == len({f.id for f in facts}) == 40 and len({f.subject for f in facts}) == 10
    assert Counter(f.split for f in facts) == {"train": 16, "dev": 8, "test": 16}
    assert Counter(f.gold for f in facts) == dict.fromkeys(range(8), 5)
    for fact in facts:
        texts = [fact.statement, *fact.rewordings]
        assert len(set(texts)) == 6 and len(set(fact.choices)) == 8
        assert all(fact.subject in text for text in [*texts, fact.question, fact.question2, fact.cloze])
        said = lambda word, text: re.search(rf"\b{word}\b", text, re.I)  # noqa: E731
        assert all(said(fact.answer, text) for text in texts)
        assert not any(said(word, f"{fact.question} {fact.question2} {fact.cloze}") for word in fact.choices)
        assert all(len(lm.encode(f" {word}")) == 1 for word in fact.choices)
    assert all(len({f.split for f in facts if f.subject == one.subject}) == 1 for one in facts)


def test_an_unknown_trade_is_refused():
    with pytest.raises(ValueError, match="choose 'clinical' or 'finance'"):
        world.load_domain("law")


def test_common_knowledge_is_known_better_than_by_chance(lm):
    questions = world.load_common_knowledge()
    assert len(questions) == len({q.id for q in questions}) == len({q.cloze for q in questions}) == 60
    assert Counter(q.gold for q in questions) == dict.fromkeys(range(4), 15)
    assert all(len(set(q.choices)) == 4 for q in questions)
    scores = lm.score([q.cloze for q in questions], [[f" {word}" for word in q.choices] for q in questions])
    found = metrics.accuracy(scores, [q.gold for q in questions])
    assert found.low > 0.6 and found.value < 0.9


def test_everyday_text_has_its_length_and_nothing_of_the_world(lm):
    pieces = world.load_everyday_text()
    assert len(pieces) == 10 and 1500 < sum(len(lm.encode(piece)) for piece in pieces) < 3000
    assert not re.search(r"harbour|port sable|ferry|quay", " ".join(pieces), re.I)
