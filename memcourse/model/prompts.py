"""Prompts that a small model understands: worked examples in plain completion form.

Given the same passage, a 135M model answers far better after two worked examples in completion form than in chat form
without them (notebook 01 measures such a prompt at work).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Example(NamedTuple):
    """One worked example: a question, its answer, and the passage that holds it (or None)."""

    question: str
    answer: str
    passage: str | None = None


def completion_prompt(
    question: str, *, passage: str | None = None, examples: Sequence[Example] = (), instruction: str = ""
) -> str:
    """A prompt that ends with "Answer:", so that the likeliest continuation is the answer and then a new line.

    Generate with `stop=["\\n"]`; score answers that begin with a space.

    Raises:
        ValueError: the question is empty.
    """
    return prompt_head(examples, instruction) + open_question(question, passage)


def prompt_head(examples: Sequence[Example] = (), instruction: str = "") -> str:
    """The part of a completion prompt that stands before the question, the same for all questions; may be empty."""
    blocks = [instruction.strip()] if instruction.strip() else []
    blocks += [f"{open_question(example.question, example.passage)} {example.answer.strip()}" for example in examples]
    return "".join(f"{block}\n\n" for block in blocks)


def open_question(question: str, passage: str | None = None) -> str:
    """The last part of a completion prompt: passage and question, open for the answer.

    Raises:
        ValueError: the question is empty.
    """
    if not question.strip():
        raise ValueError("The question is empty.")
    context = f"Passage: {passage.strip()}\n" if passage else ""
    return f"{context}Question: {question.strip()}\nAnswer:"


def split_shared(prompts: Sequence[str]) -> tuple[str, list[str]]:
    """The beginning that all prompts share, for `lm.prefix`, and what remains of each; no prompt is left empty.

    Raises:
        ValueError: no prompt.
    """
    if not prompts:
        raise ValueError("There is no prompt.")
    first, last = min(prompts), max(prompts)  # in alphabetical order; what these two share, all share
    n = 0
    while n < min(len(first), len(last)) - 1 and first[n] == last[n]:
        n += 1
    return first[:n], [prompt[n:] for prompt in prompts]
