"""Templates write what the table says and nothing else: every text is checked against the facts by its value words."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcourse.synthesis import rewrites
from memcourse.synthesis.fact_table import FactTable, phrases
from memcourse.synthesis.rewrites import Text, equal_budget, pair_texts, rewrite_texts
from memcourse.weights.samples import Sample, encode_samples
from memcourse.world import make_people

from .test_synthesis_fact_table import KITE, KITES, SHAPE


@cache
def people(n=12, attributes=("pet", "trade", "food"), values=6):
    return FactTable.of_people(make_people(n, list(attributes), values=values))


def clauses(text):
    """Parts of a text that state one thing each: sentences, and what stands between the joints of a sentence."""
    return re.split(r"(?<=[.])\s|; |, but |, and (?!it is a )", text)


def faithful(table, text):
    """No value is said of a subject that hasn't got it, and all facts that the text claims are there."""
    stated, before = {table.rows[i] for i in text.facts}, []
    values, subjects = {row.value for row in table.rows}, {row.subject for row in stated}

    def found(words, part):
        return [word for word in words if re.search(rf"\b{re.escape(word)}\b", part)]

    for clause in clauses(re.sub(r"Not so with [^:]*: ", "", text.text)):
        named, said = found(table.subjects, clause), found(values, clause)
        if clause.startswith("The same goes for "):
            said = before
        if said and " differ in " in clause:
            pairs = re.findall(r"(\w+) for ([\w ]+)(?=[,.])", clause)
            assert {(row.value, row.subject) for row in stated} >= {*pairs} and len(pairs) == 2, (clause, text)
        elif said:
            assert named and len(said) == 1, (clause, text)
            assert {(row.subject, row.value) for row in stated} >= {(name, said[0]) for name in named}, (clause, text)
        before = said
    assert found(table.subjects, text.text) == [s for s in table.subjects if s in subjects], text
    assert {*found(values, text.text)} == {row.value for row in stated}, text


def test_the_check_itself_finds_a_value_of_someone_else():
    for wrong in [
        Text("Moth costs 12. Moth is square.", (0, 1), "rewrite"),
        Text("Moth costs 12, and Crane costs 12.", (0, 2), "pair"),
        Text("Moth and Crane differ in price: 30 for Moth, 12 for Crane.", (0, 2), "pair"),
        Text("Both Moth and Crane have the same price: 12.", (0, 2), "pair"),
        Text("Moth costs 12.", (0, 1), "rewrite"),
    ]:
        with pytest.raises(AssertionError):
            faithful(KITES, wrong)


@pytest.mark.parametrize("table", [KITES, people()], ids=["kites", "people"])
@pytest.mark.parametrize("make", [rewrite_texts, pair_texts])
def test_every_generated_text_is_faithful_different_and_reproducible(table, make):
    texts = make(table, 40, seed=3)
    assert len({t.text for t in texts}) == len(texts) == 40 * len(table.subjects)
    assert texts == make(table, 40, seed=3) and texts[0] != make(table, 40, seed=4)[0]
    assert texts[: 8 * len(table.subjects)] == make(table, 8, seed=3), "fewer texts are the first ones of more"
    for text in texts:
        faithful(table, text)
        assert text.facts == tuple(sorted(set(text.facts))) and text.prompt == "" and text.text.endswith(".")


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 9), st.integers(1, 3), st.integers(2, 24), st.integers(1, 6), st.integers(0, 50))
def test_people_of_any_size_are_told_truly(n, attributes, values, times, seed):
    table = people(n, ("pet", "trade", "food")[:attributes], values)
    for text in rewrite_texts(table, times, seed) + pair_texts(table, times, seed) + rewrites.reversed_statements(table):
        faithful(table, text)


def test_a_rewrite_states_all_facts_of_its_subject_once_each_in_any_order():
    table = people()
    texts = rewrite_texts(table, 60, seed=0)
    for text, (subject, places) in zip(texts, list(table.subjects.items()) * 60, strict=True):
        assert text.kind == "rewrite" and text.facts == places and text.text.count(subject) in (3, 4)
        assert all(len(re.findall(rf"\b{table.rows[i].value}\b", text.text)) == 1 for i in places)
    values = [[text.text.index(table.rows[i].value) for i in text.facts] for text in texts]
    orders = Counter(tuple(sorted(range(3), key=v.__getitem__)) for v in values)
    assert len(orders) == 6 and min(orders.values()) > len(texts) / 12, "each order about as often as any other"


def test_the_grammar_gives_as_many_texts_as_it_says_and_no_more():
    kinds = rewrites.possible_rewrites(KITES)
    assert kinds == dict.fromkeys(("Moth", "Crane", "Ember"), 5 * 2 * (3 * 2) * 8), "openings, orders, statements, joints"
    assert len({t.text for t in rewrite_texts(KITES, 480, seed=0)}) == 480 * 3
    with pytest.raises(ValueError, match="On 'Moth' 480 different texts were found; ask for 1 to so many, not 481"):
        rewrite_texts(KITES, 481, seed=0)
    for make in (rewrite_texts, pair_texts):
        with pytest.raises(ValueError, match="ask for 1 to so many, not 0"):
            make(KITES, 0, seed=0)
    assert min(rewrites.possible_rewrites(people()).values()) > 100_000, "hundreds of texts are a small part"


def test_sentences_are_joined_with_the_right_case():
    table = FactTable(
        [("The Moth", "cost", "12"), ("The Moth", "shape", "round")],
        {"cost": {"statements": ["{name} costs {value}."]}, "shape": {"statements": ["At fairs {name} is {value}."]}},
    )
    texts = {t.text for t in rewrite_texts(table, rewrites.possible_rewrites(table)["The Moth"], seed=0)}
    assert {"The Moth costs 12, and at fairs The Moth is round.", "At fairs The Moth is round; The Moth costs 12."} <= texts
    assert "The Moth costs 12. Besides, at fairs The Moth is round." in texts
    assert "A few words on The Moth. At fairs The Moth is round. The Moth costs 12." in texts and len(texts) == 80
    table = FactTable.of_people(make_people(2, 8), phrase=99)
    within = [table.told(i, s, True) for i in range(8) for s in table.worded(i).statements if s[0] != "{"]
    assert len(within) > 60 and all(text[0].islower() for text in within), "the kit's first words all lose their capital"


def test_pairs_relate_two_subjects_in_all_that_both_have():
    table = people(30, values=12)
    texts = pair_texts(table, 20, seed=0)
    for text, subject in zip(texts, list(table.subjects) * 20, strict=True):
        subjects = {table.rows[i].subject for i in text.facts}
        assert text.kind == "pair" and subject in subjects and len(subjects) == 2 and len(text.facts) == 6

    alike = [len({table.rows[i][1:] for i in text.facts}) < 6 for text in texts]
    assert sum(alike) > len(texts) / 2, "every second partner has a value in common; by chance fewer than a third would"


def test_equal_values_are_told_as_equal_and_different_ones_as_different():
    table = people(30, ("pet",), 12)
    kinds = Counter()
    for text in pair_texts(table, 40, seed=0):
        same = re.search("Both |are alike|same goes|likewise", text.text)
        other = re.search(" differ |does not have the same|Not so|, but |by contrast", text.text)
        kinds[(same or other).group()] += 1
        assert bool(same) != bool(other) and bool(same) == (len({table.rows[i].value for i in text.facts}) == 1), text
        faithful(table, text)
    assert len(kinds) == 9 and min(kinds.values()) > 20, "each template is used ('alike' in two of them)"


def test_pairs_use_only_attributes_that_both_have():
    table = FactTable([("Moth", "cost", "12"), ("Crane", "cost", "12"), ("Crane", "shape", "round")],
                      {"cost": KITE, "shape": SHAPE})  # fmt: skip
    assert {t.facts for t in pair_texts(table, 5, seed=0)} == {(0, 1)}
    assert any(t.text == "Both Moth and Crane have the same price: 12." for t in pair_texts(table, 10, seed=0))
    with pytest.raises(ValueError, match=r"On 'Moth' .* different texts were found; ask for 1 to so many, not 500"):
        pair_texts(table, 500, seed=0)
    lonely = FactTable([("Moth", "cost", "12"), ("Crane", "shape", "round")], {"cost": KITE, "shape": SHAPE})
    with pytest.raises(ValueError, match="No other subject has an attribute of 'Moth'"):
        pair_texts(lonely, 1, seed=0)


@pytest.mark.parametrize("n", [4, 5])
def test_no_text_repeats_the_wording_of_a_question(n):
    kit = make_people(6, 8, seed=1)
    table = FactTable.of_people(kit, phrase=n)
    texts = rewrite_texts(table, 60, seed=0) + pair_texts(table, 60, seed=0)
    texts += rewrites.reversed_statements(FactTable.of_people(make_people(6, ["pet", "trade", "drink"], seed=1), n))
    masked = re.compile("|".join(person.name for person in kit.people))  # the name is one word, as in a wording
    asked = {p for a in kit.attributes for t in (*a.questions, *a.clozes) for p in phrases(t, n)}
    sentences = {part for t in texts for part in re.split("[.;:] ", masked.sub("{name}", t.text))}
    assert len(sentences) > 500 and not [(s, both) for s in sentences if (both := phrases(s, n) & asked)]
    told = [s.format(name="{name}", value=a.values[0]) for a in kit.attributes for s in a.statements]
    assert any(phrases(s, n) & asked for s in told), "without the filter some would repeat it"


def test_questions_and_answers_are_samples():
    table, kit = people(), make_people(12, ["pet", "trade", "food"], values=6)
    texts = rewrites.question_answers(table, (1, 3), [kit.people[0].name, kit.people[5].name])
    asked = [q for q in kit.questions(wording=1) if q.person in (kit.people[0].name, kit.people[5].name)]
    expected = [Sample(f"Question: {q.question}\nAnswer:", f" {q.answer}") for q in asked]
    assert rewrites.samples(texts)[:6] == expected and len(texts) == 12
    assert {t.kind for t in texts} == {"answer"} and all(table.rows[t.facts[0]].value == t.text[1:] for t in texts)
    assert len(rewrites.question_answers(table)) == len(table.rows)
    for wrong in [{"wordings": (5,)}, {"wordings": ()}, {"wordings": (-1,)}, {"subjects": ["Nobody"]}, {"subjects": []}]:
        with pytest.raises(ValueError, match="Give subjects of the table, and wordings from 0 to"):
            rewrites.question_answers(table, **wrong)


def test_reversed_statements_name_the_value_first():
    table = people()
    texts = rewrites.reversed_statements(table)
    assert len({t.text for t in texts}) == len(texts) == sum(len(table.worded(i).reversed) for i in range(len(table.rows)))
    for text in texts:
        (i,) = text.facts
        assert text.text.index(table.rows[i].value) < text.text.index(table.rows[i].subject) and text.kind == "reversed"
    with pytest.raises(ValueError, match="no reversed wordings on 'shape'"):
        rewrites.reversed_statements(KITES)


def test_arms_get_the_same_budget_in_whole_rounds():
    table = people()
    arms = {"raw": rewrite_texts(table, 1, 0), "rewrites": rewrite_texts(table, 50, 0), "pairs": pair_texts(table, 20, 0),
            "answers": rewrites.question_answers(table, (0, 1))}  # fmt: skip
    count = lambda text: len(re.findall(r"\w+|[^\w\s]", text)) + 1  # noqa: E731
    filled = equal_budget(arms, count, 4000, seed=0)
    for arm, got in filled.items():
        longest = max(count(t.prompt + t.text) for t in arms[arm])
        assert got.tokens == sum(count(t.prompt + t.text) for t in got.texts) and 4000 - longest < got.tokens <= 4000
        times = Counter(got.texts)
        assert set(times) <= set(arms[arm]) and got.distinct == len(times)
        assert max(times.values()) - min(times[t] for t in arms[arm]) <= 1, "each text as often as any other, up to one"
        assert got.repetitions == pytest.approx(len(got.texts) / len(times))
    assert filled["raw"].distinct == 12 and filled["raw"].repetitions > 5 > filled["rewrites"].repetitions == 1
    assert filled == equal_budget(arms, count, 4000, seed=0) != equal_budget(arms, count, 4000, seed=1)
    rounds = [t.text for t in filled["raw"].texts]
    assert {*rounds[:12]} == {*rounds[12:24]} and rounds[:12] != rounds[12:24], "rounds are whole, and shuffled anew"


def test_what_a_budget_counts_is_what_training_reads(lm):
    arms = {"rewrites": rewrite_texts(people(), 4, 0)}
    (got,) = equal_budget(arms, lambda text: len(lm.encode(text)) + 1, 900, seed=0).values()
    assert encode_samples(lm, rewrites.samples(got.texts)).tokens == got.tokens


@pytest.mark.parametrize(
    ("arms", "tokens", "message"),
    [({}, 10, "at least one arm"), ({"a": []}, 10, "at least one text in each"),
     ({"a": [Text("one two three", (), "x")]}, 2, "'a' have 3 to 3 tokens, but must have 1 to 2"),
     ({"a": [Text("", (), "x")]}, 2, "'a' have 0 to 0 tokens")],
)  # fmt: skip
def test_budgets_that_cannot_be_filled_are_refused(arms, tokens, message):
    with pytest.raises(ValueError, match=message):
        equal_budget(arms, lambda text: len(text.split()), tokens, seed=0)
