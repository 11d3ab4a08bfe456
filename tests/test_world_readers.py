"""Anyone's documents and questions: SQuAD, BEIR, JSONL, CSV, Markdown; a bad row is named with file and line."""

from __future__ import annotations

import csv
import io
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memcourse import world
from memcourse.errors import CourseError

XQUAD = Path(os.environ.get("MEMCOURSE_XQUAD", ""))


def put(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ---- paragraphs


@given(st.text("ab #\n\t\r\u2028é😀", max_size=60))
@example("# \u2028a")  # two lines, so no heading
def test_paragraphs_are_exact_places_that_hold_every_visible_character(text):
    spans = world.paragraphs(text)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
    assert all(a[1] < b[0] for a, b in pairwise(spans))
    outside = "".join(
        text[a:b] for a, b in zip([0, *(e for _, e in spans)], [*(s for s, _ in spans), len(text)], strict=True)
    )
    assert all(not line.strip() or line.strip().startswith("#") for line in outside.splitlines())


def test_paragraphs_leave_out_headings_only():
    text = "## A heading\n\nOne\nline.\n\n \n# Another\nwith text below\n\n#no heading"
    assert [text[a:b] for a, b in world.paragraphs(text)] == ["One\nline.", "# Another\nwith text below", "#no heading"]


# ---- documents


def test_a_folder_of_markdown_and_text_files(tmp_path):
    put(tmp_path / "a.md", "\ufeff---\ntitle: A: first\ndate: 2024-05-01\n---\n\nOne.\r\n\r\nTwo.\r\n".encode())
    put(tmp_path / "deep/b.md", "# The heading\n\nOnly passage.\n")
    put(tmp_path / "c.txt", "Plain.")
    put(tmp_path / "picture.png", b"\x89")
    a, c, b = world.read_documents(tmp_path)
    assert (a.id, a.title, a.metadata) == ("a", "A: first", {"date": "2024-05-01"})
    assert [p.id for p in a.passages] == ["a#1", "a#2"] and a.passages[1].text == "Two."
    assert all(d.text[p.start : p.end] == p.text for d in (a, b, c) for p in d.passages)
    assert (b.title, b.passages[0].text, c.title) == ("The heading", "Only passage.", "c")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.md", "---\ntitle: x\nText", r"a\.md, line 3: .*'key: value'.*'Text'"),
        ("a.md", "---\ntitle: x\n", r"line 3: .*'key: value'"),
        ("a.md", "---\ntitle: x", r"a\.md: the head .* never ends"),
        ("a.md", "---\na: 1\na: 2\n---\nText", r"line 3: .*each key once"),
        ("a.md", "---\na: 1\n---\n  \n", r"a\.md has no text"),
        ("a.txt", b"fine\ncaf\xe9\n", r"a\.txt, line 2: not UTF-8"),
        ("a.docx", "x", r"holds no \.md or \.txt file"),
    ],
)
def test_bad_text_files_are_named(tmp_path, name, text, message):
    put(tmp_path / name, text)
    with pytest.raises(CourseError, match=message):
        world.read_documents(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    put(tmp_path / "x/a.md", "One.")
    put(tmp_path / "y/a.txt", "Two.")
    with pytest.raises(CourseError, match="same name"):
        world.read_documents(tmp_path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CourseError, match=r"Cannot read .*nowhere"):
        world.read_documents(tmp_path / "nowhere.md")
    with pytest.raises(CourseError, match=r"nowhere .*No such file"):
        world.read_collection(tmp_path / "nowhere")


ROWS = [
    {"id": "d1", "title": "T", "text": 'One.\n\nTwo; "quoted", 3.', "year": "2024"},
    {"id": "d2", "title": "", "text": "é😀\u2028x"},
]


def as_csv(rows: list[dict], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["id", "title", "text", "year"], delimiter=delimiter, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode("utf-8-sig")  # as Excel saves it


def test_rows_are_the_same_documents_from_jsonl_and_every_csv(tmp_path):
    wanted = world.read_documents(put(tmp_path / "a.jsonl", jsonl(*ROWS)))
    assert [p.text for p in wanted[0].passages] == ["One.", 'Two; "quoted", 3.'] and wanted[0].metadata == {"year": "2024"}
    for name, delimiter in (("b.csv", ","), ("c.csv", ";"), ("d.tsv", "\t")):
        assert world.read_documents(put(tmp_path / name, as_csv(ROWS, delimiter))) == wanted


def test_a_column_may_hold_a_whole_book(tmp_path):
    long = [{"id": "d", "text": "word " * 100_000}]
    assert len(world.read_documents(put(tmp_path / "a.csv", as_csv(long, ",")))[0].text) == 499_999


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"id": "1", "text": "x"}\n\n{"id": "2"}\n', r"a\.jsonl, line 3: 'text' is missing"),
        ("a.jsonl", '{"id": "1", "text": "x"}\n{"id": 2, "text": ["y"]}\n', r"line 2: 'text' must be a text, not \['y'\]"),
        ("a.jsonl", '{"id": "1", "text": "x"}\n{"id": "1", "text": "y"}\n', r"line 2: the id '1' stands already in line 1"),
        ("a.jsonl", '{"id": "1", "text": "x"}\n{oops\n[1]\n', r"line 2: no valid JSON .*line 3: an object is needed"),
        ("a.jsonl", "\n", "has no rows"),
        ("a.csv", "id,text\n1,x\n2,y,z\n", r"a\.csv, line 3: 3 columns where the first line names 2"),
        ("a.csv", 'id,text\n1,"x\ny"\n2,\n', r"line 4: 'text' is missing or empty"),
        ("a.csv", 'id,text\n1,"x\n', r"line 2: no valid CSV"),
        ("a.csv", "name,words\n1,x\n", r"line 2: 'id' or '_id' is missing"),
        ("a.xlsx", "PK", r"ending must be \.jsonl, \.csv or \.tsv"),
    ],
)
def test_bad_rows_are_named_with_file_and_line(tmp_path, name, text, message):
    with pytest.raises(CourseError, match=message):
        world.read_documents(put(tmp_path / name, text))


def test_of_many_bad_rows_the_first_are_named_and_the_rest_counted(tmp_path):
    with pytest.raises(CourseError, match=r"line 1: .*line 5: .* and 7 more rows"):
        world.read_documents(put(tmp_path / "a.jsonl", "{}\n" * 12))


# ---- questions


def test_questions_from_jsonl_and_csv(tmp_path):
    documents = world.read_documents(put(tmp_path / "d.jsonl", jsonl(*ROWS)))
    rows = [
        {
            "id": "q1",
            "question": "How many?",
            "answers": ["3", "three"],
            "passages": ["d1#2"],
            "split": "dev",
            "as_of": "2020-02-29",
        },
        {"id": "q2", "question": "Which?", "answer": "x", "passages": ["d1"]},
    ]
    q1, q2 = world.read_questions(put(tmp_path / "q.jsonl", jsonl(*rows)), documents)
    assert (q1.answers, q1.answer, q1.passages, q1.split, q1.as_of) == (("3", "three"), "3", ("d1#2",), "dev", "2020-02-29")
    assert (q2.answers, q2.passages, q2.as_of) == (("x",), ("d1#1", "d1#2"), world.TODAY)
    table = "id,question,answers,passages,split,as_of\nq1,How many?,3|three,d1#2,dev,2020-02-29\nq2,Which?,x,d1,,\n"
    questions = world.read_collection(tmp_path / "d.jsonl", put(tmp_path / "q.csv", table)).questions
    assert questions == (q1, q2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passages": ["d1#9"]}, "there is no passage 'd1#9'"),
        ({"facts": ["f1"]}, "there is no fact 'f1'"),
        ({"split": "validation"}, "there is no split 'validation'"),
        ({"answers": [3, None]}, "'answers' or 'answer' must be a list of texts"),
        ({"as_of": "1.9.2026"}, "'as_of' must be a day like 2026-09-01"),
        ({"question": " "}, "'question' or 'text' is missing or empty"),
    ],
)
def test_bad_questions_are_named(tmp_path, change, message):
    documents = world.read_documents(put(tmp_path / "d.jsonl", jsonl(*ROWS)))
    good = {"id": "q1", "question": "How many?", "answers": ["3"], "passages": ["d1#2"]}
    path = put(tmp_path / "q.jsonl", jsonl(good, {**good, "id": "q2", **change}))
    with pytest.raises(CourseError, match=rf"q\.jsonl, line 2: .*{message}"):
        world.read_questions(path, documents)


# ---- SQuAD


def squad(**change) -> dict:
    answer = {"text": "Ann", "answer_start": 4}
    asked = {"id": "q1", "question": "Who?", "answers": [answer, answer], **change}
    impossible = {"id": "q2", "question": "Where?", "answers": [], "is_impossible": True}
    paragraphs = [{"context": "It's Ann.", "qas": [asked, impossible]}, {"context": "More.", "qas": []}]
    return {"version": "2.0", "data": [{"title": "T", "paragraphs": paragraphs}]}


def test_squad(tmp_path):
    found = world.read_collection(
        put(tmp_path / "s.json", json.dumps(squad(answers=[{"text": "Ann", "answer_start": 5}] * 2)))
    )
    (document,), (q1, q2) = found.documents, found.questions
    assert document.text == "It's Ann.\n\nMore." and [p.id for p in document.passages] == ["T#1", "T#2"]
    assert all(document.text[p.start : p.end] == p.text for p in document.passages)
    assert (q1.answers, q1.passages, q1.kind) == (("Ann",), ("T#1",), "single")
    assert (q2.answers, q2.kind) == ((), "unanswerable")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"data": [}', r"s\.json, line 1: no valid JSON"),
        ('{"rows": []}', "the top level: 'data' must be a list, not None"),
        ('{"data": []}', "'data' holds no article"),
        (json.dumps(squad()), r"data\[0\]\.paragraphs\[0\]\.qas\[0\]\.answers\[0\]: 'Ann' does not stand at character 4"),
        (json.dumps(squad(answers=[])), r"qas\[0\]: it has no answer"),
        (json.dumps(squad(answers=[], id="q2")), r"the id 'q2' stands already in|it has no answer"),
        (json.dumps(squad(question=None)), r"qas\[0\]: 'question' must be a text"),
    ],
)
def test_bad_squad_files_are_named(tmp_path, data, message):
    with pytest.raises(CourseError, match=message):
        world.read_squad(put(tmp_path / "s.json", data))


@pytest.mark.skipif(not XQUAD.is_file(), reason="real questions that are not part of the project")
def test_a_real_squad_file():
    found = world.read_squad(XQUAD)
    assert (len(found.documents), len(found.passages), len(found.questions)) == (24, 120, 612)
    assert all(answer in found.gold_text(q) for q in found.questions for answer in q.answers)


# ---- BEIR


def beir(folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n") -> Path:
    texts = [{"_id": "d1", "title": "T", "text": "One.\n\nTwo.", "metadata": {}}, {"_id": "d2", "title": "Only", "text": ""}]
    put(folder / "corpus.jsonl", jsonl(*texts))
    put(folder / "queries.jsonl", jsonl({"_id": "q1", "text": "Which?"}, {"_id": "q2", "text": "Of another split?"}))
    put(folder / "qrels/test.tsv", qrels)
    return folder


def test_beir(tmp_path):
    found = world.read_collection(beir(tmp_path))
    assert [(p.id, p.text) for p in found.passages.values()] == [("d1#1", "One.\n\nTwo."), ("d2#1", "Only")]
    (question,) = found.questions
    assert (question.relevance, question.passages, question.answer) == ({"d1#1": 2, "d2#1": 0}, ("d1#1",), "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q1\td9\t1", r"test\.tsv, line 2: there is no document 'd9'"),
        ("q9\td1\t1", "there is no query 'q9'"),
        ("q1\td1\tgood", "'score' must be a whole number"),
        ("q1\td1", "2 columns where the first line names 3"),
    ],
)
def test_bad_qrels_are_named(tmp_path, row, message):
    with pytest.raises(CourseError, match=message):
        world.read_beir(beir(tmp_path, f"query-id\tcorpus-id\tscore\n{row}\n"))


def test_a_source_that_brings_its_own_questions_takes_no_others(tmp_path):
    with pytest.raises(ValueError, match="brings its own questions"):
        world.read_collection(beir(tmp_path), "questions.csv")
    with pytest.raises(CourseError, match=r"Cannot read .*dev\.tsv"):
        world.read_collection(tmp_path, split="dev")
