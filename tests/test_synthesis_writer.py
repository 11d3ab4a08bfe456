"""A model as writer: every reply is read strictly, checked, counted, and none makes it fail or go on for ever."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memcourse.synthesis.fact_table import FactTable
from memcourse.synthesis.replies import Pair, Unusable, parse_json_reply, parse_sentence
from memcourse.synthesis.writer import (
    Request,
    Statement,
    Written,
    faithful_to,
    model_writer,
    pair_requests,
    statements_of,
    usable_shares,
    wording_requests,
    write,
)
from memcourse.world import make_people

NORA = Statement("Nora Lind works as a baker.", "Nora Lind", "baker")
OTTO = Statement("Otto Marsh works as a pilot.", "Otto Marsh", "pilot")
GOOD = Pair("What does Nora Lind do?", "baker")


def scripted(*replies: str):
    """A writer that gives these replies in turn, the last one for ever, and the calls that were made of it."""
    calls, given = [], iter(replies)

    def writer(prompts, seed, temperature):
        calls.append((list(prompts), seed, temperature))
        return [next(given, replies[-1]) for _ in prompts]

    return writer, calls


@pytest.mark.parametrize(
    "around",
    ["{}", "Sure! Here it is:\n```json\n{}\n```\nAnything else?", "A set {{of}} one: {} {{}}", "{}{}", "\ufeff  {} # done"],
)
def test_a_pair_is_found_in_whatever_stands_around_it(around):
    text = json.dumps({"answer": " baker ", "question": "What does\n Nora Lind do?"}, indent=2)
    assert parse_json_reply(around.format(text, '{"question": "Second?", "answer": "no"}')) == GOOD


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "no JSON"),
        ("The answer is {baker}.", "no JSON"),
        ('["question", "answer"]', "no JSON"),
        ('{"question": "Who?", "answer": "No', "broken JSON"),
        ('{"all": {"question": "Who?", "answer": "Nora"}', "broken JSON"),
        ("{'question': 'Who?', 'answer': 'Nora'}", "no JSON"),
        ('{"question": "Who?"}', "missing key"),
        ("{}", "missing key"),
        ('{"Question": "Who?", "answer": "Nora"}', "missing key"),
        ('{"question": "Who?", "answer": "Nora", "note": "!"}', "extra key"),
        ('{"question": "When?", "answer": 9}', "not a string"),
        ('{"question": "When?", "answer": null}', "not a string"),
        ('{"question": "Who?", "answer": "  "}', "empty"),
        ('{"question": "?!", "answer": "Nora"}', "empty"),
        ('{"a":' * 100_000, "broken JSON"),
        ('{"question": ' + "9" * 10_000 + "}", "broken JSON"),
    ],
)
def test_what_is_no_pair_says_why(reply, why):
    found = parse_json_reply(reply)
    assert isinstance(found, Unusable) and found == why


@given(st.text())
@example('{"question": "\\ud800", "answer": "x"}')
def test_no_reply_whatever_breaks_the_readers(reply):
    assert isinstance(parse_json_reply(reply), Pair | Unusable) and isinstance(parse_sentence(reply), str)


def test_a_sentence_is_a_whole_line():
    assert parse_sentence('\n "Nora bakes."  \nand more') == "Nora bakes."
    assert parse_sentence('So "it" is said.”') == 'So "it" is said.”'
    assert [str(parse_sentence(text)) for text in ("", " \n ", "...", "Nora bakes br")] == ["empty"] * 3 + ["unfinished"]


@pytest.mark.parametrize(
    ("item", "faithful"),
    [
        ("By trade, nora lind is a BAKER!", True),
        ("Nora Lind's trade: baker.", True),
        ("Nora works as a baker.", False),  # which Nora?
        ("Nora Lind works as a bakery hand.", False),
        ("Nora Lind is a baker, not a pilot.", False),  # another subject's value
        ("Nora Linda works as a baker.", False),
        (GOOD, True),
        (Pair("What does she do?", "baker"), False),
        (Pair("What does Nora Lind do?", "bread"), False),
        (Pair("What does Nora Lind, the baker, do?", "baker"), False),
        (Pair("What does Nora Lind do?", "baker or pilot"), False),
    ],
)
def test_what_is_faithful_tells_its_own_fact_and_no_other(item, faithful):
    assert faithful_to([NORA, OTTO])(Request("", NORA), item) is faithful


def test_a_number_is_one_word_and_a_shared_value_is_nobody_elses():
    late = Statement("The ferry leaves at 9.30.", "The ferry", "9.30")
    early = Statement("The boat leaves at 9.", "The boat", "9")
    check = faithful_to([late, early, Statement("The bus leaves at 9.30.", "The bus", "9.30")])
    assert check(Request("", late), "At 9.30 the ferry sails.") and not check(Request("", early), "At 9.30 the boat sails.")
    assert not faithful_to([early])(Request("", early), "At 9.30 the boat sails.")


def test_a_sentence_is_a_copy_from_the_similarity_on_that_was_given():
    source = Statement("Nora Lind works here as a baker.", "Nora Lind", "baker")
    writer, _ = scripted("Nora Lind works here as our baker.")  # 3 of the 7 shingles of both
    for nearest, outcome in ((3 / 7, "copy"), (3 / 7 + 1e-9, "kept")):
        written = write(writer, wording_requests([source]), 1, rounds=1, parse=parse_sentence, nearest=nearest)
        assert written.outcomes == {outcome: 1}


def test_statements_tell_each_fact_of_a_table():
    table = FactTable.of_people(make_people(5, 4))
    statements = statements_of(table, 1)
    assert [(s.subject, s.value) for s in statements] == [(row.subject, row.value) for row in table.rows]
    assert [s.text for s in statements[:4]] == [table.told(i, table.worded(i).statements[1]) for i in range(4)]
    assert len(wording_requests(statements)) == 20 and statements_of(table) != statements
    fewest = min(len(attribute.statements) for attribute in table.wordings.values())
    for wording in (-1, fewest):
        with pytest.raises(ValueError, match=f"wordings from 0 to {fewest - 1} in common, not {wording}"):
            statements_of(table, wording)


def test_every_reply_is_counted_once_and_only_what_lacks_is_asked_again():
    writer, calls = scripted(
        "By trade Nora Lind is a baker.", "Nora Lind works as a baker.",  # kept; the source again
        "By trade Nora Lind is a baker!", "The baker here is Nora Lind.",  # what is kept already; kept
        "Otto Marsh is a baker.", "", "Otto Marsh flies, being a pilot by", "The pilot is Otto Marsh.",
        "Otto Marsh flies, being a pilot.", "Nora Lind is known to be the baker.",  # of the second round, then for ever
    )  # fmt: skip
    requests, check, steps = wording_requests([NORA, OTTO]), faithful_to([NORA, OTTO]), []
    told = {"parse": parse_sentence, "check": check, "progress": lambda *step: steps.append(step)}
    written = write(writer, requests, 4, rounds=2, batch_size=3, seed=7, **told)
    kept = ["By trade Nora Lind is a baker.", "The baker here is Nora Lind.", "Nora Lind is known to be the baker."]
    assert written.texts == [*kept, "The pilot is Otto Marsh."] and written.sources == [0, 0, 0, 1]
    assert written.outcomes == {"kept": 4, "copy": 1, "duplicate": 1, "unfaithful": 5, "empty": 1, "unfinished": 1}
    assert written.asked == 13 and written.wanted == 8 and steps[-1] == (13, 13)
    nora, otto = (request.prompt for request in requests)
    asked = [prompts for prompts, _, _ in calls]
    assert asked == [[nora] * 3, [nora, otto, otto], [otto] * 2, [nora, nora, otto], [otto] * 2]


def test_the_rounds_end_whatever_comes_back_and_the_result_is_short():
    writer, calls = scripted("no idea")
    written = write(writer, pair_requests([NORA, OTTO]), 5, rounds=3, parse=parse_json_reply, batch_size=4)
    assert written == Written([], {"no JSON": 30}, 30, 10, []) and len(calls) == 9
    seeds = [seed for _, seed, _ in calls]
    assert seeds == [0, 4, 8, 10, 14, 18, 20, 24, 28], "no two replies share their random numbers"
    assert {name: found.value for name, found in usable_shares(written).items()} == {"parses": 0, "faithful": 0, "new": 0}


def test_what_is_complete_is_not_asked_again():
    replies = [json.dumps(GOOD._asdict()), json.dumps(Pair("What is Otto Marsh?", "a pilot")._asdict())]
    writer, calls = scripted(*replies)
    written = write(writer, pair_requests([NORA, OTTO]), 1, parse=parse_json_reply, check=faithful_to([NORA, OTTO]))
    assert written.texts == [GOOD, Pair("What is Otto Marsh?", "a pilot")] and written.outcomes == {"kept": 2}
    assert len(calls) == 1 and calls[0][2] == 0.5


def test_the_shares_are_parts_of_all_replies_each_of_the_one_before():
    outcomes = {"kept": 3, "copy": 2, "duplicate": 1, "unfaithful": 4, "no JSON": 5, "empty": 5}
    shares = usable_shares(Written([], outcomes, 20, 9, []))
    assert {name: (found.value, found.n) for name, found in shares.items()} == {
        "parses": (10 / 20, 20), "faithful": (6 / 20, 20), "new": (3 / 20, 20)
    }  # fmt: skip


@pytest.mark.parametrize("replies", [lambda p, s, t: ["x"], lambda p, s, t: "xy", lambda p, s, t: [None, None]])
def test_a_writer_that_answers_with_something_else_is_refused(replies):
    with pytest.raises(ValueError, match="one string for each of its 2 prompts"):
        write(replies, wording_requests([NORA, OTTO]), 1, parse=parse_sentence)


def test_bad_input_is_refused_before_anything_is_asked():
    writer, calls = scripted("x")
    for requests, wanted, rounds in (([], 1, 1), (wording_requests([NORA]), 0, 1), (wording_requests([NORA]), 1, 0)):
        with pytest.raises(ValueError, match="Writing needs at least one request"):
            write(writer, requests, wanted, rounds, parse=parse_sentence)
    with pytest.raises(ValueError, match="must stand in the statement, word for word"):
        wording_requests([NORA, Statement("Nora bakes.", "Nora", "baker")])
    assert calls == []


def test_the_real_model_writes_some_of_both(lm):
    statements = [NORA, OTTO, Statement("Ada Holm keeps a goat.", "Ada Holm", "goat")]
    check = faithful_to(statements)
    ways = ((lm, wording_requests, parse_sentence), (model_writer(lm, 40), pair_requests, parse_json_reply))
    for writer, make, parse in ways:
        written = write(writer, make(statements), 1, rounds=2, parse=parse, check=check)
        assert 3 <= written.asked <= 6 and sum(written.outcomes.values()) == written.asked
        assert written.outcomes.get("kept", 0) == len(written.texts) == len(written.sources) <= written.wanted == 3
        assert usable_shares(written)["parses"].value >= 0.5 and written.texts, "a small model, but not a useless one"
        assert all(check(Request("", statements[i]), text) for i, text in zip(written.sources, written.texts, strict=True))


def test_the_real_model_repeats_itself_only_with_the_same_seed(lm):
    writer, prompts = model_writer(lm, 5), ["In the harbour Nora Lind works as", "In the harbour Otto Marsh works as"]
    first = writer(prompts, 1, 0.8)
    assert first == writer(prompts, 1, 0.8) != writer(prompts, 2, 0.8) and not any("\n" in reply for reply in first)
    assert first == lm.generate(prompts, 5, stop=["\n"], temperature=0.8, seed=1), "the shared beginning changes nothing"
