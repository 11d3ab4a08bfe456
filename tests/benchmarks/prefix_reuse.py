"""Sixty questions over one shared document: batches that reuse the prefix against one call a question without it.

Run by hand: python tests/benchmarks/prefix_reuse.py
Both arms run in this process, on the same model; the answers must be identical, and the ratio of times is the result.
"""

from __future__ import annotations

import time

from memcourse.model import completion_prompt, load_lm

FACTS = [
    ("The harbour master of Port Sable keeps {} boats.", "boats"),
    ("The old signal house has {} windows.", "windows"),
    ("On market days the quay holds {} stalls.", "stalls"),
    ("The fish hall pays for {} lamps each winter.", "lamps"),
]
PLACES = ["north", "south", "east", "west", "upper", "lower", "inner", "outer", "new", "old"]
N_QUESTIONS = 60
NEW_TOKENS = 12


def document(lm, tokens: int = 400) -> str:
    """A text of about 400 tokens, made of short plain sentences."""
    sentences, i = [], 0
    while len(lm.encode(" ".join(sentences))) < tokens:
        sentence, _ = FACTS[i % len(FACTS)]
        sentences.append(f"In the {PLACES[i % len(PLACES)]} part: " + sentence.format(i + 2))
        i += 1
    return " ".join(sentences)


def main() -> None:
    lm = load_lm(device="cpu", dtype="float32")
    text = f"Passage: {document(lm)}\n\n"
    prompts = [
        completion_prompt(f"In the {PLACES[i % 10]} part, how many {FACTS[(i // 10) % 4][1]} are there, list {i}?")
        for i in range(N_QUESTIONS)
    ]
    lm.generate(text + prompts[0], 2)  # warm up

    start = time.perf_counter()
    prefix = lm.prefix(text)
    batched = lm.generate(prompts, NEW_TOKENS, prefix=prefix)
    fast = time.perf_counter() - start

    start = time.perf_counter()
    single = [lm.generate(text + prompt, NEW_TOKENS) for prompt in prompts]
    slow = time.perf_counter() - start

    same = sum(a == b for a, b in zip(single, batched, strict=True))
    print(f"document {len(prefix)} tokens, {N_QUESTIONS} questions, {NEW_TOKENS} new tokens each")
    print(f"one call a question, no prefix: {slow:6.1f} s")
    print(f"batched, prefix reused:         {fast:6.1f} s")
    print(f"ratio {slow / fast:.1f}, identical answers {same} of {N_QUESTIONS}")


if __name__ == "__main__":
    main()
