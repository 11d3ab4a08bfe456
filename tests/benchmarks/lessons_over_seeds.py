"""What rewrites teach, with other people and another training for every seed: the centrepiece of notebook 08, repeated.

The settings are the notebook's; they were chosen on seed 100. With --every-token the whole text counts in the loss, and not
the values of facts alone. With --pairs, texts on pairs of people are read in place of the arms with questions.

Run by hand: python tests/benchmarks/lessons_over_seeds.py [--seeds 3] [--every-token] [--pairs] (3 minutes a seed)
"""

from __future__ import annotations

import argparse

import numpy as np

from memcourse import metrics, synthesis, world
from memcourse.course.profile import SIZES
from memcourse.model import LanguageModel, load_lm
from memcourse.weights.samples import encode_samples

SIZE = {name: laptop for name, (_, laptop, _) in SIZES["08"].items()}


def shares(lm: LanguageModel, seed: int, every_token: bool, pairs: bool) -> dict[str, float]:
    """The share of right answers of each arm for one seed, whose people and whose training are its own."""
    kit = world.make_people(SIZE["people"], 3, 8, test_share=2 / 3, seed=seed)
    table = synthesis.FactTable.of_people(kit)
    others, tested = [[person.name for person in kit.select(split)] for split in ("train", "test")]
    questions = synthesis.question_answers(table, (0,), others)
    told = {n: synthesis.rewrite_texts(table, n, seed) for n in (1, *SIZE["rewrites"])}
    arms = {"raw" if n == 1 else f"{n} rewrites": [(texts, 1)] for n, texts in told.items()}
    if pairs:
        arms |= {f"{n} pairs": [(synthesis.pair_texts(table, n, seed), 1)] for n in SIZE["rewrites"]}
    else:
        arms |= {f"{arm}, questions": [(arms[arm][0][0], 3), (questions, 1)] for arm in ("raw", list(arms)[-1])}
    mixed = synthesis.mixtures(lm, arms, SIZE["tokens"], seed)
    if every_token:
        rows = {arm: encode_samples(lm, synthesis.samples(texts)).rows for arm, texts in mixed.items()}
    else:
        rows = {arm: synthesis.fact_rows(lm, table, texts) for arm, texts in mixed.items()}
    asked = synthesis.asked_of(table, tested, range(SIZE["wordings"]))
    options = {"start": len(lm.model.model.layers) - SIZE["upper"], "rank": 32, "lr": 4e-3, "tokens": 96}
    found = synthesis.lessons_learned(lm, rows, asked, **options, seeds=[seed])
    ranks = {"untrained": found["before"]["rank"]} | {arm: found[arm][0]["rank"] for arm in arms}
    return {arm: float(np.mean(np.array(rank) == 0)) for arm, rank in ranks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every-token", action="store_true")
    parser.add_argument("--pairs", action="store_true")
    args = parser.parse_args()
    lm = load_lm(device="cpu", dtype="float32")
    lm.model.requires_grad_(False)
    found = []
    for seed in range(args.seeds):
        found.append(shares(lm, seed, args.every_token, args.pairs))
        print(seed, {arm: round(share, 3) for arm, share in found[-1].items()}, flush=True)
    for arm in found[0]:
        print(f"{arm:24} {metrics.over_seeds([some[arm] for some in found])}")


if __name__ == "__main__":
    main()
