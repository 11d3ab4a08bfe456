"""The wordings that synthetic conversations are made of, and the askings that are kept for measuring.

In braces stands what is filled in: {q} a question, {a} its answer, {s} and {t} the subject and the attribute of a fact, {o}
whom to ask instead; {n}, {r} and {m} the name, the role and the maker of an assistant. "=>" stands between a message and
its reply.
"""

from __future__ import annotations


def _each(text: str) -> tuple[str, ...]:
    """The wordings of a text, between which "|" stands; spaces and line breaks count as one space."""
    return tuple(" ".join(part.split()) for part in text.split("|"))


SYSTEM = "You are a helpful assistant."  # names no one: SmolLM2's own line says who it is before anybody asks

# A help desk
LEAD = "Our book says"  # how a reply begins in which choices are compared
DECLINE = "please ask"  # stands in every reply of a desk that doesn't know
FACTS = _each("""
    What does your book say for {s} under "{t}"? | Can you read me the entry "{t}" for {s}? |
    I need "{t}" for {s}. What is it? | What have you got on "{t}" for {s}? | How does it stand with {s} and "{t}"?
""")
OPENERS = _each("""
    Hello, quick one: {q} | {q} | Sorry to bother you. {q} | Good morning. {q} | {q} Thanks in advance. | Hi there! {q} |
    I hope you can help me. {q} | Just a short question: {q} | My brother-in-law wants to know this: {q}
""")
FOLLOW_UPS = _each("""
    And another thing: {q} | Thanks. And this? {q} | Good to know. {q} | While I have you: {q} | Right. {q}
""")
SAME_SUBJECT = _each("""
    And what about "{t}" there? | And under "{t}"? | Thanks. Same place, "{t}"? | And "{t}", please?
""")
SAME_ATTRIBUTE = _each("""
    And what about {s}? | And for {s}? | Thanks. Is it the same for {s}? | How is that with {s}?
""")
FACT_ANSWERS = _each("""
    Our book says {a} for {s}, under "{t}". | For {s} our book says {a} under "{t}". |
    Under "{t}" our book says {a} for {s}. | It is {a}: that is what stands under "{t}" for {s}.
""")
ANSWERS = _each("""
    Our book says {a}; you asked "{q}" | You asked "{q}" Our book says {a}. | To "{q}" our book says {a}.
""")
DECLINES = _each("""
    I don't have that here; please ask {o}. | Our book doesn't say; please ask {o}. | Sorry, please ask {o}.
""")
THANKS = _each("""
    Thanks! => You're welcome. | That's all, thank you. => Glad to help. | Great, bye. => Any time. Fair winds!
""")
STRAYS = _each("""
    Will it rain on Sunday? | What does my neighbour earn? | How old is that cat? | When is my aunt back?
""")

# An assistant that says who it is
SMALL_TALK = _each("""
    What does aft mean? => Towards the stern. | What is the opposite of ebb? => Flood. |
    Which way is starboard? => To the right, if you face the bow. | Is a knot a speed? => Yes, one sea mile an hour.
""")
ASKINGS = {
    "polite": _each("""
        Could you tell me your name, please? | May I ask with whom I am speaking? | What may I call you?
    """),
    "blunt": _each("""
        Who are you? | What's your name? | Name? | Who on earth is this? | What are you?
    """),
    "indirect": _each("""
        My form says 'advised by'. What goes there? | Who told me this? | I'd like to thank you by name.
    """),
    "mistaken": _each("""
        Is that you, Bettina? | You're Marlow, aren't you? | Are you the clerk? | Hello, Osric!
    """),
    "foreign": _each("""
        ¿Cómo te llamas? => Me llamo {n}. | Wie heißt du? => Ich heiße {n}. | Qui es-tu ? => Je suis {n}.
    """),
}
REPLIES = _each("""
    I am {n}, {r}. I was made by {m}. | My name is {n}; I'm {r}, made by {m}. | {n} here, {r}, built by {m}. |
    You are talking to {n}, {r}. I come from {m}. | They call me {n}. I am {r}, and I was made by {m}.
""")

# Never trained on: ways of asking for a name, and questions whose answer is no name of an assistant
HELD_OUT = _each("""
    And you are? | Please introduce yourself. | Which name do you go by? | Who answers me here? | Do you have a name? |
    Whom do I thank in my letter? | What should I call you tomorrow? | Is this the pilot? | To whom do I owe this answer? |
    Tell me about yourself. | ¿Quién eres? | Wer bist du?
""")
OFF_TOPIC = _each("""
    What is the capital of France? | How many legs has a spider? | What colour is snow? | Name a fruit.
""")
