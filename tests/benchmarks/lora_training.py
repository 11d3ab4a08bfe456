"""Training LoRA: the course's engine beside a plain PEFT loop over all layers, on the people kit.

Tokens a second count real tokens, not padding. "Time to accuracy" is what counts: seconds of training (evaluation not
counted, the first pass through the frozen layers counted) until the questions on people who were never asked about in
training are answered at a given rate, for each seed; there the run stops.

Run by hand: python tests/benchmarks/lora_training.py [--people 20] [--seeds 3] [--target 0.3]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Generator

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from memcourse import metrics, world
from memcourse.model import LanguageModel, load_lm, seed_everything
from memcourse.model.prompts import open_question
from memcourse.weights.finetuning import reused
from memcourse.weights.lora import add_lora, remove_lora
from memcourse.weights.probes import Asked, Probe
from memcourse.weights.samples import Row, Sample, bucketed, encode_samples, epoch_steps, padded
from memcourse.weights.training import cosine
from memcourse.weights.tuned import Tuned, counted_nll

RANK, TOKENS = 16, 512
UPPER = 10  # layers that the engine adapts
# Of 3e-3 and 1e-2 each way's better rate, by log-probability on seed 0; epochs that take about as long for both.
RECIPES = {"engine": (1e-2, 12), "plain PEFT loop": (3e-3, 4)}


def samples(kit: world.PeopleKit, rewrites: int) -> list[Sample]:
    """Biographies of all, and questions with answers about the people of the train split."""
    told = [Sample("", text) for person in kit.people for text in kit.biographies(person, rewrites)]
    asked = [Sample(open_question(q.question), f" {q.answer}") for q in kit.questions("train")]
    return told + 2 * asked


def plain(lm: LanguageModel, rows: list[Row], epochs: int, lr: float, seed: int) -> Generator[int]:
    """The loop of many tutorials: LoRA on every linear layer, rows in random order, all labels through the output layer."""
    seed_everything(seed)
    model = get_peft_model(lm.model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    size = 8
    steps = epochs * -(-len(rows) // size)
    optimizer = torch.optim.AdamW((w for w in model.parameters() if w.requires_grad), lr=lr)
    order = random.Random(seed)
    try:
        for step in range(steps):
            if step % -(-len(rows) // size) == 0:
                left = order.sample(range(len(rows)), len(rows))
            chosen, left = left[:size], left[size:]
            batch = padded([rows[i] for i in chosen])
            mask = torch.tensor([[1] * len(rows[i].ids) + [0] * (batch.ids.shape[1] - len(rows[i].ids)) for i in chosen])
            optimizer.param_groups[0]["lr"] = lr * cosine(step, steps, 0.05)
            model(input_ids=batch.ids, attention_mask=mask, labels=batch.labels).loss.backward()
            torch.nn.utils.clip_grad_norm_([w for w in model.parameters() if w.requires_grad], 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield int(mask.sum())
        yield 0  # the end, with the adapter still in place
    finally:
        model.unload()
        lm.model.requires_grad_(False)


def engine(lm: LanguageModel, rows: list[Row], epochs: int, lr: float, seed: int) -> Generator[int]:
    """What `finetune` does, step by step so that the clock can stop in between."""
    seed_everything(seed)
    start = len(lm.model.model.layers) - UPPER
    add_lora(lm.model, RANK, layers=range(start, start + UPPER))
    tuned, read = Tuned(lm.model, start), reused(lm, rows, start)
    step_rows, steps = bucketed(rows, TOKENS, seed), epochs * epoch_steps(rows, TOKENS)
    weights = [w for w in tuned.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=lr, fused=True)
    try:
        for step in range(steps):
            total, count = counted_nll(tuned, read(step_rows(step)))
            (total / count).sum().backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.param_groups[0]["lr"] = lr * cosine(step, steps, 0.05)
            optimizer.step()
            optimizer.zero_grad()
            yield sum(len(rows[i].ids) for i in step_rows(step))
        yield 0
    finally:
        remove_lora(lm.model)


def watched(
    run: Generator[int], accuracy: Callable[[], float], target: float, every: float
) -> tuple[float, float | None, list[float]]:
    """Tokens a second, seconds to the target (None: not reached), and the accuracies seen on the way."""
    tokens, spent, next_look, reached, seen = 0, 0.0, every, None, []
    while True:
        begun = time.perf_counter()
        read = next(run)
        spent += time.perf_counter() - begun
        tokens += read
        if not read or spent >= next_look:
            seen.append(accuracy())
            next_look += every
            if seen[-1] >= target:
                reached = spent
        if not read or reached is not None:
            run.close()
            return tokens / spent, reached, seen


def main(people: int, seeds: int, target: float, every: float) -> None:
    """Both ways for each seed, in turn, and one table."""
    lm = load_lm(device="cpu", dtype="float32")
    lm.model.requires_grad_(False)
    table: dict[str, list[tuple[float, float | None, list[float]]]] = {"engine": [], "plain PEFT loop": []}
    for seed in range(seeds):
        kit = world.make_people(people, 3, 8, seed=seed)
        rows = encode_samples(lm, samples(kit, 6)).rows
        asked = kit.questions("test") + kit.questions("test", 1)
        probe = Probe(lm, [Asked(open_question(q.question), q.choices, q.gold) for q in asked])

        def accuracy(probe: Probe = probe, asked: list = asked) -> float:
            return metrics.accuracy(probe.scores(), [q.gold for q in asked]).value

        for name, way in (("engine", engine), ("plain PEFT loop", plain)):
            lr, epochs = RECIPES[name]
            table[name].append(watched(way(lm, rows, epochs, lr, seed), accuracy, target, every))
            rate, reached, seen = table[name][-1]
            print(f"seed {seed}, {name:16} {rate:6.0f} tokens/s, {target} after {reached and round(reached)} s", end="; ")
            print("accuracies", " ".join(f"{a:.2f}" for a in seen), flush=True)
    rates = [np.mean([rate for rate, _, _ in rows]) for rows in table.values()]
    print(f"tokens a second: {rates[0] / rates[1]:.2f} times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="LoRA training: the course's engine beside a plain PEFT loop.")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.3)
    parser.add_argument("--every", type=float, default=15.0, help="seconds of training between two looks")
    main(**vars(parser.parse_args()))
