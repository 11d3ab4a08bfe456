"""The course's own data and anyone's own: facts, documents and questions as plain dataclasses, checked when read."""

from memcourse.world.capitals import Country, load_capitals
from memcourse.world.cards import CardNote, load_card_notes
from memcourse.world.changes import Change, changes
from memcourse.world.choices import (
    DOMAINS,
    ChoiceQuestion,
    CommonQuestion,
    DomainFact,
    InventedFact,
    load_common_knowledge,
    load_domain,
    load_everyday_text,
    load_invented_facts,
)  # fmt: skip
from memcourse.world.contrasts import Contrast, load_contrasts
from memcourse.world.descriptions import BACKWARD, FORWARD, Described, describe_people
from memcourse.world.documents import document, paragraphs
from memcourse.world.look_alikes import LookAlike, look_alikes
from memcourse.world.manifest import data_path, manifest_sha256
from memcourse.world.people import Attribute, PeopleKit, Person, PersonQuestion, make_people
from memcourse.world.port_sable import load_world, worked_examples
from memcourse.world.python_reference import PythonReference, load_python_reference
from memcourse.world.readers import read_beir, read_collection, read_documents, read_facts, read_questions
from memcourse.world.records import TODAY, Collection, Document, Fact, Passage, Question
from memcourse.world.squad import read_squad

__all__ = [
    "BACKWARD", "DOMAINS", "FORWARD", "TODAY", "Attribute", "CardNote", "Change", "ChoiceQuestion", "Collection",
    "CommonQuestion", "Contrast", "Country", "Described", "Document", "DomainFact", "Fact", "InventedFact", "LookAlike",
    "Passage", "PeopleKit", "Person", "PersonQuestion", "PythonReference", "Question", "changes", "data_path",
    "describe_people", "document", "load_capitals", "load_card_notes", "load_common_knowledge", "load_contrasts",
    "load_domain", "load_everyday_text", "load_invented_facts", "load_python_reference", "load_world", "look_alikes",
    "make_people", "manifest_sha256", "paragraphs", "read_beir", "read_collection", "read_documents", "read_facts",
    "read_questions", "read_squad", "worked_examples",
]  # fmt: skip
