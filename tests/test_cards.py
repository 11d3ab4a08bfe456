"""The card notes: twins differ in the brand and in one value, impossible wishes are refused, and an embedder is misled."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from memcourse import world

from .conftest import ROOT

DATA = ROOT / "data"
FILE = json.loads((DATA / "cards.json").read_text(encoding="utf-8"))
BRANDS, TOPICS = FILE["brands"], [note["topic"] for note in FILE["notes"]]
each = pytest.mark.parametrize("note", FILE["notes"], ids=lambda note: note["topic"])


def test_the_file_is_plain_and_nothing_in_it_stands_twice():
    raw = (DATA / "cards.json").read_bytes()
    assert raw.isascii() and b"\r" not in raw and raw.endswith(b"}\n")
    assert len(set(BRANDS)) == len(BRANDS) == 10 and all(re.fullmatch(r"[A-Z][a-z]+ Card", brand) for brand in BRANDS)
    for part in ("topic", "text", "question"):
        assert len({note[part] for note in FILE["notes"]}) == 40


@each
def test_a_note_names_brand_and_value_once(note):
    text, question, values = note["text"], note["question"], note["values"]
    assert text.count("{brand}") == text.count("{value}") == question.count("{brand}") == 1 and "{value}" not in question
    assert re.fullmatch(r"[A-Z].*\.", text) and re.fullmatch(r"[A-Z][^?]*\?", question) and "  " not in text + question
    assert len(set(values)) == 6
    assert not any(value in text.format(brand="card", value="") + question for value in values)
    assert not any(a in b for a in values for b in values if a != b), "one value would be found within another"


@each
def test_a_question_asks_about_its_note(note):
    content = lambda text: {word[:4].lower() for word in re.findall(r"[A-Za-z]{4,}", text)}  # noqa: E731
    assert content(note["question"]) & content(note["text"]) - {"bran", "valu", "card"}, "they share a content word"


def test_notes_come_topic_by_topic_in_the_order_of_the_file():
    notes = world.load_card_notes(3, first=2)
    assert [(note.topic, note.brand) for note in notes] == [(topic, brand) for topic in TOPICS for brand in BRANDS[2:5]]
    assert all(note.title == f"{note.brand}: {note.topic}" for note in notes)


@pytest.mark.parametrize(("brands", "first"), [(2, 0), (6, 0), (6, 4), (3, 5)])
def test_twins_differ_in_the_brand_and_the_value_alone(brands, first):
    notes = world.load_card_notes(brands, first)
    assert len(notes) == 40 * brands
    for start in range(0, len(notes), brands):
        twins = notes[start : start + brands]
        assert len({note.value for note in twins}) == brands
        assert len({note.bare.replace(note.value, "?") for note in twins}) == 1
        for note in twins:
            assert all(text.count(note.value) == 1 for text in (note.text, note.bare)) and note.value not in note.question
            assert note.text.count(note.brand) == note.question.count(note.brand) == 1
            named = re.sub(r"\b([Aa])n (?=card)", r"\1 ", note.text.replace(note.brand, "card"))
            assert named == note.bare


def test_a_bare_note_names_no_brand():
    notes = world.load_card_notes(6) + world.load_card_notes(4, first=6)
    names = [brand.removesuffix(" Card") for brand in BRANDS]
    assert not any(re.search(rf"\b{name}\b", note.bare, re.I) for note in notes for name in names)
    assert not any("{" in text for note in notes for text in (note.text, note.bare, note.question))


def test_the_article_suits_the_name():
    texts = [text for first in range(10) for n in world.load_card_notes(1, first) for text in (n.text, n.bare, n.question)]
    assert not re.search(r"\b[Aa] [AEIOU]|\b[Aa]n [^AEIOUaeioh]", " ".join(texts))
    assert sum("an Ombry Card" in text or "An Ombry Card" in text for text in texts) > 20


def test_values_follow_from_the_seed_and_not_from_the_rivals():
    notes = world.load_card_notes(seed=3)
    assert notes == world.load_card_notes(seed=3) and world.load_card_notes() == world.load_card_notes(2, 0, 0)
    assert sum(a.value != b.value for a, b in zip(notes, world.load_card_notes(seed=4), strict=True)) > 40
    known = {(note.brand, note.topic): note.value for note in notes}
    wider, later = world.load_card_notes(6, seed=3), world.load_card_notes(6, first=1, seed=3)
    for note in (*wider, *later):
        assert known.get((note.brand, note.topic), note.value) == note.value


def test_every_value_is_drawn_about_as_often():
    values = {note["topic"]: note["values"] for note in FILE["notes"]}
    places = [values[n.topic].index(n.value) for seed in range(30) for n in world.load_card_notes(1, seed=seed)]
    assert len(places) == 1200 and min(np.bincount(places)) > 140 and max(np.bincount(places)) < 260


@pytest.mark.parametrize(("brands", "first"), [(0, 0), (-1, 0), (7, 0), (2, -1), (2, 9), (6, 5)])
def test_impossible_brands_are_refused(brands, first):
    with pytest.raises(ValueError, match=rf"brands must be 1 to 6.*at most 10; not {brands} and {first}\.$"):
        world.load_card_notes(brands, first)


def test_no_brand_stands_in_the_other_data():
    others = [path for path in DATA.rglob("*") if path.is_file() and not path.name.startswith(("cards.", "MANIFEST", "."))]
    assert len(others) > 90
    everything = " ".join(path.read_text(encoding="utf-8") for path in others)
    assert not any(brand.lower() in everything.lower() for brand in BRANDS)


def test_an_embedder_finds_the_topic_but_not_the_brand_of_a_bare_note(embedder):
    notes = world.load_card_notes()
    own = np.arange(len(notes))
    twin = own ^ 1
    asked = embedder.encode([note.question for note in notes])
    named, bare = (embedder.encode(texts) for texts in ([n.text for n in notes], [n.bare for n in notes]))
    closeness = bare @ bare.T - 2 * np.eye(len(notes))
    assert (closeness.argmax(axis=1) == twin).all(), "the nearest note to each is its twin"
    scores = asked @ bare.T
    best = scores.argmax(axis=1)
    assert (best // 2 == own // 2).mean() > 0.9, "the topic is found"
    assert 0.4 < (best == own).mean() < 0.6, "a coin would tell the brands of bare notes apart as well"
    assert ((asked * named).sum(axis=1) > (asked * named[twin]).sum(axis=1)).mean() > 0.9, "named, they are told apart"
