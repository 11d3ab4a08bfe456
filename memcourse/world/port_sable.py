"""The invented harbour town of Port Sable: its documents, its facts, and questions about them."""

from __future__ import annotations

from functools import cache

from memcourse.model.prompts import Example
from memcourse.world.documents import read_text_documents
from memcourse.world.manifest import data_path, data_paths
from memcourse.world.readers import read_facts, read_questions
from memcourse.world.records import Collection

WORKED_EXAMPLES = ("town-q46", "people-q40", "town-q47")  # questions of split train; which ones was decided on dev


@cache
def load_world() -> Collection:
    """Everything in data/port_sable, checked by SHA-256: documents, facts, and questions with a fixed split by fact.

    Nothing in it is real, so no model can have it in its weights. The result is frozen and shared by all callers.

    Raises:
        CourseError: a file is missing, was changed, or does not belong there.
    """
    documents = tuple(read_text_documents(data_paths("port_sable/documents")))
    facts = tuple(read_facts(data_path("port_sable/facts.csv"), documents))
    questions = tuple(read_questions(data_path("port_sable/questions.jsonl"), documents, facts))
    return Collection(documents, questions, facts)


def worked_examples(with_passage: bool = True) -> list[Example]:
    """Three solved questions of split train for the head of a prompt, with their passages or without.

    A small model answers far better after worked examples; which ones was decided on the questions of split dev.
    """
    town = load_world()
    solved = {question.id: question for question in town.questions}
    chosen = [solved[name] for name in WORKED_EXAMPLES]
    return [Example(q.text, q.answer, town.gold_text(q) if with_passage else None) for q in chosen]
