"""The one dial: PROFILE. Everything else that a notebook needs follows from it and is listed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from memcourse.model.device import Choice, choose_device, choose_dtype

PROFILES = ("smoke", "laptop", "gpu")

# For each notebook: the size's name, and its value for smoke, laptop and gpu.
_LM = ("smollm2-135m", "smollm2-135m", "HuggingFaceTB/SmolLM2-1.7B-Instruct")
SIZES: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "00": {
        "lm": _LM,
        "new_tokens": (8, 40, 40),  # length of an answer
        "questions": (4, 24, 24),  # invented facts asked
        "every": (40, 2, 1),  # every how many of the town's test questions are asked
    },
    "01": {
        "lm": _LM,
        "countries": (16, 166, 166),  # capitals asked
        "traced": (4, 16, 48),  # known capitals followed through the network
        "trace_step": (10, 2, 1),  # every how many blocks
        "invented": (4, 24, 24),  # invented facts asked
        "chat_turns": (3, 20, 20),
        "batch_prompts": (8, 64, 64),  # prompts asked alone and in company
    },
    "02": {
        "lm": _LM,
        "lengths": ((64, 128, 256), (256, 512, 1024, 2048, 4096, 8192), (1024, 2048, 4096, 8192, 16384)),  # of attention
        "prompts": ((16, 32, 64), (128, 256, 512, 1024, 2048, 4096), (512, 1024, 2048, 4096, 8000)),  # time to first token
        "decoded": ((32, 64), (64, 128, 256, 512), (256, 512, 1024, 2048)),  # cached tokens before the next one
        "contexts": ((128, 256), (128, 256, 512, 1024, 2048), (128, 256, 512, 1024, 2048)),  # tokens around the passage
        "needles": (4, 24, 40),  # look-alike questions asked in each context
        "shuffles": (2, 3, 8),  # orders of the passages, to vary the position
        "pairs": ((4, 16), (1, 4, 16, 64, 256), (1, 4, 16, 64, 256)),  # in the associative memory
        "repeats": (1, 3, 5),  # runs of which the fastest counts
    },
    "03": {
        "lm": _LM,
        "seeds": (2, 3, 5),  # trainings of everything
        "widths": ((8, 12), (8, 12, 16), (8, 12, 16, 24, 32)),  # of the models that learn random strings
        "loads": ((0.9, 3.6), (0.9, 1.8, 3.6, 5.4), (0.9, 1.8, 3.6, 5.4)),  # bits offered for each parameter
        "capacity_steps": (20, 350, 600),
        "longer": ((10, 20), (100, 200, 400, 800), (200, 400, 800, 1600)),  # steps, at the smallest width
        "people": (12, 100, 200),  # in the biographies
        "wordings": ((1, 8), (1, 4, 8), (1, 2, 4, 8)),  # of their biographies
        "extraction_steps": (10, 600, 1200),
        "described": (16, 150, 240),  # people known by one description; two thirds are tested
        "reversal_steps": (10, 400, 800),
        "told": (4, 40, 100),  # people put into the prompt of the language model
        "facts": ((20, 8), (300, 60), (300, 60)),  # old ones and new ones
        "half_keys": (16, 96, 96),  # of the memory layer, which has the square of it as slots
        "few_slots": (50, 300, 300),  # that may change in the most sparing arm
        "fact_steps": ((10, 5), (300, 100), (400, 100)),  # for the old ones, for the new ones
        "exposures": ((1, 8), (1, 2, 4, 8, 16, 32, 64, 128), (1, 2, 4, 8, 16, 32, 64, 128)),  # of a string in training
        "strings": (4, 32, 64),  # for each number of exposures
    },
    "04": {
        "lm": _LM,
        "sentences": (8, 40, 40),  # with paraphrases and near-copies
        "people": (12, 120, 240),  # whom the embedder is tuned and tested on
        "tune_steps": (2, 30, 90),
        "dimensions": (  # of free vectors, for each temperature of their training
            {0.1: (3, 4)},
            {0.1: (3, 4, 5, 6, 7, 8), 0.03: (3, 4, 5, 6)},
            {0.1: (3, 4, 5, 6, 7, 8, 9), 0.03: (3, 4, 5, 6, 7)},
        ),
        "on_curve": ((10, 40), (10, 20, 50, 100, 200, 400), (10, 20, 50, 100, 200, 400, 1000)),  # documents
        "limit_names": (10, 46, 46),  # documents in the small LIMIT set
        "secrets": (100, 6000, 20000),  # sentences that the decoder is trained on
        "secrets_test": (8, 120, 300),
        "decoder_steps": (5, 400, 1500),
        "rounds": (1, 3, 6),  # of correction
        "noise": ((0.0, 1.0), (0.0, 0.5, 1.0, 2.0), (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)),  # a vector has length 1
        "noise_test": (6, 40, 200),
    },
    "05": {
        "people": (20, 1500, 2400),  # whose sentences are embedded
        "queries": (20, 100, 400),
        "vectors": (10_000, 50_000, 1_000_000),  # with the generated ones
        "toy": (300, 4000, 4000),  # vectors of the toy IVF
        "lists": (16, 200, 1000),  # of IVF
        "codes": (8, 48, 48),  # bytes of a PQ code
    },
    "06": {
        "lm": _LM,
        "examples": (2, 8, 16),  # solved questions at the head of the prompt
        "chunk_sizes": ((0,), (0, 400, 1000), (0, 150, 400, 1000)),  # characters of a chunk; 0 is one sentence
        "characters": (600, 600, 600),  # that every chunk size may show
        "every": (100, 4, 1),  # every how many of the test questions are asked
        "every_dev": (80, 4, 1),  # the same for the development questions that set a threshold
        "every_few": (120, 15, 3),  # the same, where each question is asked in many ways
        "every_whole": (7, 7, 4),  # the same, among those, with the whole corpus
        "whole_tokens": (300, 1536, 8192),
        "ks": ((1, 2), (1, 3, 8), (1, 2, 3, 5, 8, 12, 20)),  # sentences in the prompt
        "two_hop": (1, 12, 18),  # questions
        "changes": (1, 16, 23),  # facts that replaced others
        "poisoned": (1, 8, 80),  # questions with a planted answer
        "python": (1, 12, 28),  # questions on Python's reference
    },
    "07": {
        "lm": _LM,
        "texts": (1, 2, 6),  # pieces of everyday text, whose perplexity is watched
        "common_every": (12, 2, 1),  # every how many of the questions of common knowledge
        "served": (2, 8, 32),  # prompts answered in one batch
        "timed": (2, 30, 30),  # tokens, of which the fastest counts
        "paragraphs": (1, 2, 4),  # of the filing
        "filing_questions": (2, 15, 30),
        "poem": (2, 12, 48),  # tokens
        "raw_steps": (
            {"full": 1, "LoRA": 1, "prefix": 1, "cartridge": 1},
            {"full": 9, "LoRA": 11, "prefix": 16, "cartridge": 16},
            {"full": 20, "LoRA": 28, "prefix": 60, "cartridge": 60},
        ),
        "slots": (4, 32, 32),  # of a prefix and of a cartridge
        "slot_counts": ((2,), (2, 8, 32), (2, 8, 32, 128)),
        "slot_seeds": (2, 3, 5),  # random beginnings for each
        "facts": (2, 16, 16),  # of each trade
        "upper": (2, 4, 10),  # layers in which they are learned
        "rates": (1, 3, 3),  # at which each arm runs
        "epochs": (1, 4, 8),
        "adapter_epochs": (1, 5, 12),  # of the adapters that are served
        "handbook_questions": (2, 28, 28),
        "studies": (2, 20, 96),  # texts that the model writes about the handbook
        "study_steps": (
            {"next tokens": 1, "self-study": 1},
            {"next tokens": 10, "self-study": 22},
            {"next tokens": 80, "self-study": 160},
        ),
    },
    "08": {
        "lm": _LM,
        "texts": (1, 2, 6),  # pieces of everyday text, whose perplexity is watched
        "seeds": (1, 1, 3),  # trainings of each arm
        "people": (12, 12, 24),  # in the table; two thirds are tested
        "wordings": (1, 5, 5),  # in which each of their facts is asked
        "rewrites": ((2,), (2, 4, 8), (2, 4, 8, 32)),  # of the text on each person
        "tokens": (400, 8000, 60000),  # that each arm reads
        "upper": (2, 8, 12),  # layers that learn
        "statements": (2, 24, 120),  # that the model says in other words
        "writer_rounds": (1, 1, 2),
        "tail_texts": (60, 400, 400),  # real sentences
        "tail_people": (20, 80, 80),  # spoken of in them
        "tail_seeds": (2, 3, 5),
        "tail_steps": (3, 200, 300),
        "generations": (1, 5, 8),
        "dialogues": (3, 16, 48),  # of the desk
        "cases": (2, 12, 24),  # questions to the desk, of either kind
        "identity": (2, 12, 48),  # conversations about who it is
        "chat_epochs": (1, 3, 4),
        "few": ((1,), (1, 3, 30), (1, 3, 10, 30)),  # real images of each digit
        "digit_seeds": (2, 3, 5),
        "rendered": (50, 2000, 5000),  # printed digits
        "digit_steps": (3, 150, 200),
        "judged": (60, 600, 800),  # images of either side that are told apart
    },
}


@dataclass(frozen=True)
class Setup:
    """What `begin` found and chose; sizes are read as attributes (`nb.countries`).

    Attributes:
        notebook: "00" and so on.
        profile: "smoke", "laptop" or "gpu".
        seed: the seed that was set.
        device, dtype: "cpu" or "cuda" or "mps", "float32" or "bfloat16".
        sizes: every derived size by name.
    """

    notebook: str
    profile: str
    seed: int
    device: str
    dtype: str
    sizes: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        sizes = object.__getattribute__(self, "sizes")
        if name in sizes:
            return sizes[name]
        raise AttributeError(f"Notebook {self.notebook} has no size {name!r}; it has {', '.join(sizes)}.")


_current: Setup | None = None


def begin(notebook: str, profile: str = "laptop", seed: int = 0) -> Setup:
    """Set the dial for a notebook, seed everything, and print what was chosen and why.

    Raises:
        ValueError: an unknown notebook or profile, or a seed that is no whole number.
    """
    global _current
    if notebook not in SIZES:
        raise ValueError(f"Unknown notebook {notebook!r}; known are {', '.join(SIZES)}.")
    if profile not in PROFILES:
        raise ValueError(f"Unknown PROFILE {profile!r}; use one of {', '.join(PROFILES)}.")
    from memcourse.model import seed_everything

    seed_everything(seed)
    device, dtype = _hardware(profile)
    column = PROFILES.index(profile)
    sizes = {name: values[column] for name, values in SIZES[notebook].items()}
    _current = Setup(notebook, profile, seed, device.value, dtype.value, MappingProxyType(sizes))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"notebook {notebook}, profile {profile}, seed {seed}; {versions}")
    print(f"device {device.value}: {device.why}")
    print(f"dtype {dtype.value}: {dtype.why}")
    if profile == "smoke":
        print("Profile smoke only shows that every line runs: its figures mean nothing.")
    return _current


def _hardware(profile: str) -> tuple[Choice, Choice]:
    """Device and dtype. Laptop and smoke always compute on the CPU, whatever the machine has."""
    if profile == "gpu":
        device = choose_device()
        return device, choose_dtype(device.value)
    import torch

    hint = " (this machine has a GPU: PROFILE = 'gpu' uses it)" if torch.cuda.is_available() else ""
    why = "this profile uses the CPU, so that your figures can be compared with the stored ones"
    return Choice("cpu", why + hint), choose_dtype("cpu")


def current() -> Setup:
    """The setup of the running notebook; raises RuntimeError before `begin` was called."""
    if _current is None:
        raise RuntimeError("Run the set-up cell first: it calls course.begin(...).")
    return _current
