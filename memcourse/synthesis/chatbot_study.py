"""What a language model learns from synthetic conversations: answers, where to send the asker, and who it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, cycle, islice, product, takewhile
from typing import Any

import numpy as np

from memcourse.metrics import normal_answer
from memcourse.model.lm import LanguageModel
from memcourse.model.prompts import split_shared
from memcourse.progress import Label, silent
from memcourse.synthesis.dialogue_words import DECLINE, HELD_OUT, LEAD, OFF_TOPIC, SMALL_TALK, SYSTEM
from memcourse.synthesis.dialogues import QA, Dialogue, chat, dialogue_rows, fact_questions, support_dialogues
from memcourse.weights.exam import adapted, answered, read_before, trained_numbers
from memcourse.weights.finetuning import finetune, reused_by
from memcourse.weights.loss import IGNORED
from memcourse.weights.probes import Asked, Probe
from memcourse.weights.samples import Row, epoch_steps
from memcourse.weights.training import Recipe
from memcourse.world import load_world

REPLY_TOKENS = 16  # of a desk's reply, in which the answer may stand behind what was asked
NAME_TOKENS = 10  # of a reply to who it is, which says the name early
BATCH = 32  # prompts that are answered side by side


def multi_turn_prompts(lm: LanguageModel, questions: Sequence[str], seed: int = 0, system: str | None = SYSTEM) -> list[str]:
    """Each question as the second turn of a chat that began with something else, open for the reply.

    The seed decides which small talk all of them begin with; so that beginning needs to be read only once.
    """
    message, reply = SMALL_TALK[int(np.random.default_rng(seed).integers(len(SMALL_TALK)))].split(" => ")
    before = [("system", system)] if system is not None else []
    before += [("user", message), ("assistant", reply)]
    return [lm.chat_prompt(chat([*before, ("user", question)])) for question in questions]


def multi_turn_accuracy(lm: LanguageModel, cases: Sequence[Asked], prefix: Any = None, lead: str = LEAD) -> dict[str, list]:
    """How a model answers questions in chats (see `multi_turn_prompts`), with or without a prefix before them.

    Returns: lists with an item for each case: "chosen", 1 where the right choice is likeliest in a reply that begins with
        `lead`; "contained", 1 where it stands in the reply written (16 tokens); "declined", 1 where that sends one
        elsewhere; and the "replies".
    """
    return _graded(lm, cases, _replies(lm, [case.prompt for case in cases], REPLY_TOKENS, prefix), prefix, lead)


def _graded(lm: LanguageModel, cases: Sequence[Asked], replies: list[str], prefix: Any, lead: str) -> dict[str, list]:
    before, rests = _beginning(lm, [case.prompt + lead for case in cases], prefix)
    asked = [case._replace(prompt=rest) for case, rest in zip(cases, rests, strict=True)]
    ranks = answered(lm, asked, before)["rank"]
    return {
        "chosen": [int(rank == 0) for rank in ranks],
        "contained": [_holds(reply, case.choices[case.gold]) for reply, case in zip(replies, cases, strict=True)],
        "declined": [_holds(reply, DECLINE) for reply in replies],
        "replies": replies,
    }


def says_who(lm: LanguageModel, askings: Sequence[str], name: str, prefix: Any = None) -> list[int]:
    """1 for each way of asking (see `HELD_OUT`) whose reply holds the name within 10 tokens, else 0."""
    prompts = [lm.chat_prompt(chat([("system", SYSTEM), ("user", asking)])) for asking in askings]
    return [_holds(reply, name) for reply in _replies(lm, prompts, NAME_TOKENS, prefix)]


def _replies(lm: LanguageModel, prompts: Sequence[str], tokens: int, prefix: Any = None) -> list[str]:
    before, rests = _beginning(lm, prompts, prefix)
    return lm.generate(rests, tokens, prefix=before, batch_size=BATCH)


def _beginning(lm: LanguageModel, prompts: Sequence[str], prefix: Any) -> tuple[Any, list[str]]:
    """What is read before all prompts (the prefix given, else the beginning that they share), and the rest of each."""
    if prefix is not None or len(prompts) < 2:
        return read_before(lm, prefix), list(prompts)
    head, rests = split_shared(prompts)
    return (lm.prefix(head) if head else None), rests


def _holds(reply: str, text: str) -> int:
    return int(f" {normal_answer(text)} " in f" {normal_answer(reply)} ")


def harbour_desk(lm: LanguageModel, n: int = 16, cases: int = 12, seed: int = 0) -> dict[str, list[Any]]:
    """The desk of two offices in Port Sable, each with a rule of its own for the same things.

    Args:
        n: number of conversations to train on.
        cases: at most so many test questions of either kind; the facts in the conversations are those that they ask for.
        seed: decides the conversations, and the small talk before the questions.

    Returns: "dialogues"; "cases" (`Asked`: test questions on their facts, other wordings); "unknown", prompts that ask for
        what isn't told (test questions without an answer; those in the dialogues are others).

    Raises:
        ValueError: no conversation or no case.
    """
    if n < 1 or cases < 1:
        raise ValueError(f"The harbour's desk needs at least 1 conversation and 1 case, not {n} and {cases}.")
    town = load_world()
    test = [q for q in town.select(split="test", kinds=["look_alike"]) if q.id.startswith("lookalike")][:cases]
    unanswerable = town.select(kinds=["unanswerable"])
    items = fact_questions([fact for fact in town.facts if any(fact.id in question.facts for question in test)])
    items += [QA(question.text, "", question.id) for question in unanswerable if question.split != "test"]
    asked = []
    for question, prompt in zip(test, multi_turn_prompts(lm, [question.text for question in test], seed), strict=True):
        choices = town.choices(question)
        asked.append(Asked(prompt, choices, choices.index(question.answer)))
    strange = [question.text for question in unanswerable if question.split == "test"][:cases]
    return {
        "dialogues": support_dialogues(items, n, seed),
        "cases": asked,
        "unknown": multi_turn_prompts(lm, strange, seed),
    }


def chatbot(
    lm: LanguageModel,
    arms: Mapping[str, Sequence[Dialogue]],
    texts: Sequence[str],
    *,
    cases: Sequence[Asked] = (),
    unknown: Sequence[str] = (),
    name: str = "",
    askings: Sequence[str] = HELD_OUT,
    rank: int = 8,
    layers: int = 6,
    lr: float = 1e-2,
    epochs: int = 3,
    tokens: int = 192,
    seeds: Sequence[int] = (0,),
    label: Label = silent,
) -> dict[str, list[dict[str, Any]]]:
    """A LoRA on the upper layers learns dialogues; what the model says before and after. Its weights stay what they were.

    The arms (some dialogues each) are trained on about equally many counted tokens: those of the smaller ones come again.
    What the frozen layers give for a dialogue is computed once, however often it comes and in however many arms.

    Args:
        texts: texts about other things, whose loss tells what was lost.
        cases, unknown: chats with an answer and without one (see `harbour_desk`).
        name, askings: what the assistant is called, and how it is asked for it.
        layers: how many of the upper layers are trained, each with a LoRA of this rank.
        epochs: how often the largest arm is read; the others take as many counted tokens.
        tokens: most tokens of a batch.
        seeds: one training for each arm and seed.

    Returns: "before" (one dictionary) and each arm (one for each seed): "other loss" of the texts (nats a token); with
        cases what `multi_turn_accuracy` gives; with unknown prompts "declined unknown", 1 where the reply sends one
        elsewhere; with a name "said" and "intruded", 1 where it stands in the reply to an asking, and to one of
        `OFF_TOPIC`; after training also "losses" of the steps, "counted" tokens of an epoch, and how many numbers were
        "trained". All of it can be stored as JSON.

    Raises:
        ValueError: no texts, no arm, an arm without dialogues or named "before", or numbers that can't be.
    """
    if not arms or not texts or not all(arms.values()) or "before" in arms:
        raise ValueError('chatbot needs texts, and at least one arm, each with dialogues and none named "before".')
    if min(rank, layers, epochs, tokens, len(seeds)) < 1 or lr <= 0:
        given = f"{rank}, {layers}, {epochs}, {tokens}, {len(seeds)}, {lr}"
        raise ValueError(f"chatbot needs rank, layers, epochs, tokens, seeds of at least 1, and lr above 0; not {given}.")
    start = max(0, len(lm.model.model.layers) - layers)
    rows = _equally_long({arm: dialogue_rows(lm, dialogues) for arm, dialogues in arms.items()})
    read = reused_by(lm, rows, start)
    look = _measures(lm, Probe(lm, [], texts), start, cases, unknown, name, askings)
    results: dict[str, list[dict[str, Any]]] = {"before": [look()]} | {arm: [] for arm in arms}
    for arm, seed in product(arms, seeds):
        recipe, told = Recipe(epochs * epoch_steps(rows[arm], tokens), lr=lr), label(f"{arm}, seed {seed}")
        with adapted(lm, "LoRA", rank=rank, start=start, seed=seed):
            size = trained_numbers(lm, None)
            done = finetune(lm, rows[arm], recipe, tokens=tokens, seed=seed, read=read[arm], progress=told)
            made = {"losses": done.losses.tolist(), "counted": _counted(rows[arm]), "trained": size}
            results[arm].append(look() | made)
    return results


def _counted(rows: Sequence[Row]) -> int:
    return sum(label != IGNORED for row in rows for label in row.labels)


def _equally_long(rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """The rows of each arm, again and again up to the counted tokens of the largest one, at most."""
    most = max(map(_counted, rows.values()))
    equal = {}
    for arm, some in rows.items():
        sums = accumulate(_counted([row]) for row in cycle(some))
        equal[arm] = list(islice(cycle(some), sum(1 for _ in takewhile(lambda total: total <= most, sums))))
    return equal


def _measures(
    lm: LanguageModel,
    probe: Probe,
    start: int,
    cases: Sequence[Asked],
    unknown: Sequence[str],
    name: str,
    askings: Sequence[str],
) -> Callable[[], dict[str, Any]]:
    """What tells how the model does as it is now; all chats of a kind are answered in one batch."""

    def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        replies = _replies(lm, [*(case.prompt for case in cases), *unknown], REPLY_TOKENS) if cases or unknown else []
        if cases:
            found |= _graded(lm, cases, replies[: len(cases)], None, LEAD)
        if unknown:
            found["declined unknown"] = [_holds(reply, DECLINE) for reply in replies[len(cases) :]]
        if name:
            said = says_who(lm, [*askings, *OFF_TOPIC], name)
            found |= {"said": said[: len(askings)], "intruded": said[len(askings) :]}
        return {**found, "other loss": probe.text_loss(start=start)}

    return look
