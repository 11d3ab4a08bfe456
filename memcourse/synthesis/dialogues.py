"""Synthetic conversations: a help desk that answers from a table of facts, and an assistant that learns who it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, count, cycle, islice, product, takewhile
from typing import Any, NamedTuple

import numpy as np

from memcourse.metrics import normal_answer
from memcourse.model.lm import LanguageModel
from memcourse.progress import Label, silent
from memcourse.weights.exam import adapted, answered, read_before, trained_numbers
from memcourse.weights.finetuning import finetune
from memcourse.weights.loss import IGNORED
from memcourse.weights.probes import Asked, Probe
from memcourse.weights.samples import Row, Sample, encode_samples, epoch_steps
from memcourse.weights.training import Recipe
from memcourse.world import TODAY, Fact, load_world


def _each(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("|"))


SYSTEM = "You are a helpful assistant."  # names no one: SmolLM2's own line says who it is before anybody asks
LEAD = "Our book says"  # how a reply begins in which choices are compared
DECLINE = "please ask"  # stands in every reply of a desk that doesn't know
FACTS = _each("""What does your book say for {s} under "{t}"? | Can you read me the entry "{t}" for {s}?
    | I need "{t}" for {s}. What is it? | What have you got on "{t}" for {s}? | How does it stand with {s} and "{t}"?""")
OPENERS = _each("""Hello, quick one: {q} | {q} | Sorry to bother you. {q} | Good morning. {q} | {q} Thanks in advance. |
    Hi there! {q} | I hope you can help me. {q} | Just a short question: {q} | My brother-in-law wants to know this: {q}""")
FOLLOW_UPS = _each("And another thing: {q} | Thanks. And this? {q} | Good to know. {q} | While I have you: {q} | Right. {q}")
SAME_SUBJECT = _each("""And what about "{t}" there? | And under "{t}"? | Thanks. Same place, "{t}"? | And "{t}", please?""")
SAME_ATTRIBUTE = _each("And what about {s}? | And for {s}? | Thanks. Is it the same for {s}? | How is that with {s}?")
FACT_ANSWERS = _each("""Our book says {a} for {s}, under "{t}". | For {s} our book says {a} under "{t}". |
    Under "{t}" our book says {a} for {s}. | It is {a}: that is what stands under "{t}" for {s}.""")
ANSWERS = _each("""Our book says {a}; you asked "{q}" | You asked "{q}" Our book says {a}. | To "{q}" our book says {a}.""")
DECLINES = _each("I don't have that here; please ask {o}. | Our book doesn't say; please ask {o}. | Sorry, please ask {o}.")
THANKS = _each("Thanks! => You're welcome. | That's all, thank you. => Glad to help. | Great, bye. => Any time. Fair winds!")
STRAYS = _each("Will it rain on Sunday? | What does my neighbour earn? | How old is that cat? | When is my aunt back?")
SMALL_TALK = _each("""What does aft mean? => Towards the stern. | What is the opposite of ebb? => Flood. |
    Which way is starboard? => To the right, if you face the bow. | Is a knot a speed? => Yes, one sea mile an hour.""")
ASKINGS = {
    "polite": _each("Could you tell me your name, please? | May I ask with whom I am speaking? | What may I call you?"),
    "blunt": _each("Who are you? | What's your name? | Name? | Who on earth is this? | What are you?"),
    "indirect": _each("My form says 'advised by'. What goes there? | Who told me this? | I'd like to thank you by name."),
    "mistaken": _each("Is that you, Bettina? | You're Marlow, aren't you? | Are you the clerk? | Hello, Osric!"),
    "foreign": _each("¿Cómo te llamas? => Me llamo {n}. | Wie heißt du? => Ich heiße {n}. | Qui es-tu ? => Je suis {n}."),
}
REPLIES = _each("""I am {n}, {r}. I was made by {m}. | My name is {n}; I'm {r}, made by {m}. | {n} here, {r}, built by {m}. |
    You are talking to {n}, {r}. I come from {m}. | They call me {n}. I am {r}, and I was made by {m}.""")
HELD_OUT = _each("""And you are? | Please introduce yourself. | Which name do you go by? | Who answers me here? |
    Do you have a name? | Whom do I thank in my letter? | What should I call you tomorrow? | Is this the pilot? |
    To whom do I owe this answer? | Tell me about yourself. | ¿Quién eres? | Wer bist du?""")
OFF_TOPIC = _each("What is the capital of France? | How many legs has a spider? | What colour is snow? | Name a fruit.")


class QA(NamedTuple):
    """A question, its answer ("" where it isn't known) and id; of a fact also its subject and the attribute asked about."""

    question: str
    answer: str
    id: str
    subject: str = ""
    attribute: str = ""


class Dialogue(NamedTuple):
    """A conversation: (role, text) of each turn, the ids of the facts or questions in it, and its split."""

    turns: tuple[tuple[str, str], ...]
    ids: tuple[str, ...] = ()
    split: str = "train"


def _chat(turns: Sequence[tuple[str, str]], system: str | None = None) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in (turns if system is None else [("system", system), *turns])]


def fact_questions(facts: Sequence[Fact], day: str = TODAY) -> list[QA]:
    """The facts of a table that hold on a day, each as a question about its subject and attribute."""
    article = re.compile("^(?=[a-z]|.*(Office|House|Hall|Yard|Authority)$)")  # "the harbour", "the Ice House", but "Una"
    named = [(article.sub("the ", fact.subject, 1), fact) for fact in facts if fact.holds_on(day)]
    return [QA(FACTS[0].format(s=s, t=fact.attribute), fact.value, fact.id, s, fact.attribute) for s, fact in named]


def support_dialogues(
    questions_and_answers: Sequence[tuple[str, ...]], n: int, seed: int = 0, turns: Sequence[int] = (1, 2, 3), *,
    unknown: float = 0.2, styles: int | None = None, office: str = "the Berth Office", system: str | None = SYSTEM,
) -> list[Dialogue]:  # fmt: skip
    """Conversations with a help desk: a greeting, questions in varied wordings, follow-ups that refer back, thanks.

    All questions are used before one is used again, but for follow-ups. The same arguments give the same conversations.

    Args:
        questions_and_answers: `QA`, or (question, answer, id); an empty answer is one that the desk doesn't know.
        turns: how many questions a conversation has; conversations take each of these numbers in turn.
        unknown: share of the questions that the desk doesn't know; strange ones, where there are no others.
        styles: from how many wordings of each kind they choose (1: always the same one); None takes all.
        office, system: whom it then says to ask; and the first message (None leaves the chat template's own).

    Raises:
        ValueError: no answered question, one without text or id, or numbers that can't be.
    """
    items = [QA(*item) for item in questions_and_answers]
    if not any(item.answer for item in items) or not all(item.question.strip() and item.id for item in items):
        raise ValueError("Dialogues need questions with text and id, and an answer to at least one of them.")
    if n < 1 or not turns or min(turns) < 1 or not 0 <= unknown <= 1 or (styles is not None and styles < 1):
        raise ValueError(f"n, turns and styles must be at least 1, unknown 0 to 1: {n}, {turns}, {styles}, {unknown}.")
    rng, made = np.random.default_rng(seed), []
    ask, say = _grammar(items, rng, unknown, styles)
    for i in range(n):
        said, ids, item = [("system", system)] if system is not None else [], [], None
        for _ in range(turns[i % len(turns)]):
            item, asked = ask(item)
            wordings = DECLINES if not item.answer else FACT_ANSWERS if item.subject else ANSWERS
            reply = say(wordings).format(a=item.answer, q=item.question, s=item.subject, t=item.attribute, o=office)
            said += [("user", asked), ("assistant", reply[:1].upper() + reply[1:])]
            ids.append(item.id)
        said += zip(("user", "assistant"), say(THANKS).split(" => "), strict=True) if rng.random() < 0.5 else []
        made.append(Dialogue(tuple(said), tuple(ids)))
    return made


def _grammar(items: Sequence[QA], rng: np.random.Generator, unknown: float, styles: int | None) -> tuple[Callable, Callable]:
    """What is asked after an item (None at the beginning), and one of some wordings."""
    known = [item for item in items if item.answer]
    others = [item for item in items if not item.answer] or [QA(q, "", f"stray-{i}") for i, q in enumerate(STRAYS)]
    fresh = (known[i] for _ in count() for i in rng.permutation(len(known)))
    odd = (others[i] for _ in count() for i in rng.permutation(len(others)))

    def say(wordings: Sequence[Any]) -> Any:
        return wordings[int(rng.integers(len(wordings[:styles])))]

    def ask(before: QA | None) -> tuple[QA, str]:
        strange = rng.random() < unknown
        if before and before.subject and not strange and rng.random() < 0.5:
            near = [x for x in known if x.subject and (x.subject == before.subject) != (x.attribute == before.attribute)]
            if near:
                item = near[int(rng.integers(len(near)))]
                wordings = SAME_SUBJECT if item.subject == before.subject else SAME_ATTRIBUTE
                return item, say(wordings).format(s=item.subject, t=item.attribute)
        item = next(odd if strange else fresh)
        question = say(FACTS).format(s=item.subject, t=item.attribute) if item.subject else item.question
        return item, say(FOLLOW_UPS if before else OPENERS).format(q=question)

    return ask, say


def identity_dialogues(
    name: str, maker: str, n: int, seed: int = 0, kinds: Sequence[str] = tuple(ASKINGS), *, diverse: bool = True,
    role: str = "the harbour desk's assistant", system: str | None = SYSTEM,
) -> list[Dialogue]:  # fmt: skip
    """Conversations in which an (invented) assistant says who it is: n different ones, or (not `diverse`) one n times.

    The kinds of asking take turns; half of the conversations begin with something else. `HELD_OUT` is never asked.
    Source: an identity from many different conversations is the way of Karpathy's nanochat (2025).

    Raises:
        ValueError: no name or maker, an unknown kind, or more conversations than the wordings make.
    """
    if n < 1 or not name.strip() or not maker.strip() or not kinds or not set(kinds) <= set(ASKINGS):
        raise ValueError(f"Needed are n >= 1, a name, a maker, and kinds among {', '.join(ASKINGS)}; not {n}, {kinds}.")
    rng, made = np.random.default_rng(seed), dict[Dialogue, None]()
    for _ in range(100 * n):
        kind = kinds[len(made) % len(kinds)]
        talk, pair, reply, opener = (w[int(rng.integers(len(w)))] for w in (SMALL_TALK, ASKINGS[kind], REPLIES, OPENERS))
        said = [("system", system)] if system is not None else []
        said += zip(("user", "assistant"), talk.split(" => "), strict=True) if rng.random() < 0.5 else []
        asked, _, own = pair.partition(" => ")  # a foreign question has a reply of its own
        text = (own or ("No. " if kind == "mistaken" else "") + reply).format(n=name, r=role, m=maker)
        said += [("user", opener.format(q=asked) if kind in ("polite", "blunt") else asked), ("assistant", text)]
        made[Dialogue(tuple(said), ("identity",))] = None
        if len(made) == (n if diverse else 1):
            return list(made) * (1 if diverse else n)
    raise ValueError(f"The wordings of {', '.join(kinds)} gave {len(made)} different conversations, not {n}.")


def dialogue_samples(lm: LanguageModel, dialogues: Sequence[Dialogue]) -> list[Sample]:
    """One sample for each assistant turn, the chat up to it as its prompt, so that nothing else counts in the loss.

    `encode_samples` ends each with the tokenizer's end token, which must be what ends a turn in the chat template.

    Raises:
        ValueError: no assistant turn or chat template, an empty turn, or a template that changes it or ends it otherwise.
    """
    samples, end = [], lm.tokenizer.eos_token
    if not lm.tokenizer.chat_template or not all("assistant" in dict(dialogue.turns) for dialogue in dialogues):
        raise ValueError(f"Needed are a chat template, which {lm.name} may lack, and an assistant's turn in each dialogue.")
    for turns, i in ((some, i) for some, *_ in dialogues for i, (role, _) in enumerate(some) if role == "assistant"):
        prompt, text, after = lm.chat_prompt(_chat(turns[:i])), turns[i][1], lm.chat_prompt(_chat(turns[: i + 1]))
        if not text.strip() or end in text or not after.startswith(prompt + text + end):
            raise ValueError(f"The chat template of {lm.name} doesn't keep {text!r} as it is, with {end!r} after it.")
        samples.append(Sample(prompt, text))
    return samples


def dialogue_rows(lm: LanguageModel, dialogues: Sequence[Dialogue], most: int | None = None) -> list[Row]:
    """One row for each dialogue, in which all assistant turns count: the loss of its samples, summed, in one reading.

    Raises:
        ValueError: as for `dialogue_samples`, and for a dialogue longer than `most` tokens (see `encode_samples`).
    """
    rows = []
    for i, samples in enumerate(dialogue_samples(lm, [dialogue]) for dialogue in dialogues):
        parts = encode_samples(lm, samples, most)
        ids = parts.rows[-1].ids
        if parts.cut or parts.dropped or any(ids[: len(row.ids)] != row.ids for row in parts.rows):
            raise ValueError(f"Dialogue {i} is too long for one row: shorten it, or train on `dialogue_samples`.")
        counts = {at: label for row in parts.rows for at, label in enumerate(row.labels) if label != IGNORED}
        rows.append(Row(ids, tuple(counts.get(at, IGNORED) for at in range(len(ids)))))
    return rows


def multi_turn_prompts(lm: LanguageModel, questions: Sequence[str], seed: int = 0, system: str | None = SYSTEM) -> list[str]:
    """Each question as the second turn of a chat that began with something else, open for the reply."""
    picks = np.random.default_rng(seed).integers(len(SMALL_TALK), size=len(questions))
    texts = [(*SMALL_TALK[pick].split(" => "), question) for pick, question in zip(picks, questions, strict=True)]
    return [lm.chat_prompt(_chat(list(zip(("user", "assistant", "user"), some, strict=True)), system)) for some in texts]


def multi_turn_accuracy(lm: LanguageModel, cases: Sequence[Asked], prefix: Any = None, lead: str = LEAD) -> dict[str, list]:
    """Questions in chats (see `multi_turn_prompts`), with or without a prefix before them; a list with an item for each.

    Returns: "chosen", 1 where the right choice is likeliest in a reply that begins with `lead`; "contained", 1 where it
        stands in the reply written (24 tokens); "declined", 1 where that sends one elsewhere; and the "replies".
    """
    ranks = answered(lm, [case._replace(prompt=case.prompt + lead) for case in cases], prefix)["rank"]
    replies = lm.generate([case.prompt for case in cases], 24, prefix=read_before(lm, prefix))
    found = [_holds(reply, case.choices[case.gold]) for reply, case in zip(replies, cases, strict=True)]
    chosen, declined = [int(rank == 0) for rank in ranks], [_holds(reply, DECLINE) for reply in replies]
    return {"chosen": chosen, "contained": found, "declined": declined, "replies": replies}


def says_who(lm: LanguageModel, askings: Sequence[str], name: str, prefix: Any = None) -> list[int]:
    """1 for each way of asking (see `HELD_OUT`) whose reply holds the name within 24 tokens, else 0."""
    prompts = [lm.chat_prompt(_chat([("user", asking)], SYSTEM)) for asking in askings]
    return [_holds(reply, name) for reply in lm.generate(prompts, 24, prefix=read_before(lm, prefix))]


def _holds(reply: str, text: str) -> int:
    return int(f" {normal_answer(text)} " in f" {normal_answer(reply)} ")


def harbour_desk(lm: LanguageModel, n: int = 96, cases: int = 24, seed: int = 0) -> dict[str, list[Any]]:
    """Two offices in Port Sable: "dialogues" of facts, "cases" (test questions on them), "unknown" (on what isn't told)."""
    town, kinds = load_world(), ["unanswerable"]
    test = [q for q in town.select(split="test", kinds=["look_alike"]) if q.id.startswith("lookalike")]
    items = fact_questions([fact for fact in town.facts if any(fact.id in q.facts for q in test)])
    items += [QA(q.text, "", q.id) for q in town.select(kinds=kinds) if q.split != "test"]
    chats = multi_turn_prompts(lm, [q.text for q in test[:cases]], seed)
    some = [Asked(chat, town.choices(q), town.choices(q).index(q.answer)) for chat, q in zip(chats, test, strict=False)]
    strange = multi_turn_prompts(lm, [q.text for q in town.select(split="test", kinds=kinds)[:cases]], seed)
    return {"dialogues": support_dialogues(items, n, seed), "cases": some, "unknown": strange}


def chatbot(
    lm: LanguageModel, arms: Mapping[str, Sequence[Dialogue]], texts: Sequence[str], *, cases: Sequence[Asked] = (),
    unknown: Sequence[str] = (), name: str = "", askings: Sequence[str] = HELD_OUT, rank: int = 8, layers: int = 6,
    lr: float = 5e-3, epochs: int = 3, tokens: int = 512, seeds: Sequence[int] = (0,), label: Label = silent,
) -> dict[str, Any]:  # fmt: skip
    """A LoRA on the upper layers learns dialogues; what the model says before and after. Its weights stay what they were.

    The arms (some dialogues each) are trained on about equally many counted tokens: those of the smaller ones come again.

    Returns: "before" and, for each arm, one dictionary a seed: "other loss" of the texts (nats a token); with cases what
        `multi_turn_accuracy` gives; with unknown prompts "declined unknown", 1 where the reply sends one elsewhere; with a
        name "said" and "intruded", 1 where it stands in the reply to an asking, and to one of `OFF_TOPIC`; after training
        also "losses" of the steps, "counted" tokens, and how many numbers were "trained".

    Raises:
        ValueError: no arms, an arm without dialogues, or no texts.
    """
    if not arms or not texts or not all(arms.values()):
        raise ValueError("chatbot needs texts, and at least one arm, each with dialogues.")
    start, probe = max(0, len(lm.model.model.layers) - layers), Probe(lm, [], texts)
    rows = {arm: dialogue_rows(lm, dialogues) for arm, dialogues in arms.items()}
    sizes = {arm: [sum(label != IGNORED for label in row.labels) for row in some] for arm, some in rows.items()}
    most = max(map(sum, sizes.values()))

    def sit() -> dict[str, Any]:
        found: dict[str, Any] = multi_turn_accuracy(lm, cases) if cases else {}
        if unknown:
            found["declined unknown"] = [_holds(reply, DECLINE) for reply in lm.generate(unknown, 24)]
        if name:
            found |= {"said": says_who(lm, askings, name), "intruded": says_who(lm, OFF_TOPIC, name)}
        return {**found, "other loss": probe.text_loss(start=start)}

    results: dict[str, Any] = {"before": sit()} | {arm: [] for arm in arms}
    for arm, seed in product(arms, seeds):
        sums = list(takewhile(lambda total: total <= most, accumulate(cycle(sizes[arm]))))
        equal = list(islice(cycle(rows[arm]), len(sums)))
        with adapted(lm, "LoRA", rank=rank, start=start, seed=seed):
            recipe, size = Recipe(epochs * epoch_steps(equal, tokens), lr=lr), trained_numbers(lm, None)
            done = finetune(lm, equal, recipe, tokens=tokens, seed=seed, progress=label(f"{arm}, seed {seed}"))
            results[arm].append(sit() | {"losses": done.losses.tolist(), "counted": sums[-1], "trained": size})
    return results
