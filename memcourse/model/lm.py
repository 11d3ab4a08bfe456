"""A causal language model that generates and scores in batches, with the same results as one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from memcourse.model.batching import LOGITS_COST, Batch, check_texts, make_batches
from memcourse.model.cache import Prefix, cache_from, cache_name, common_length, layers_of, select_rows
from memcourse.model.sampling import Copier, Generated, picker, stop_ids
from memcourse.progress import Progress


class LanguageModel:
    """A causal language model with its tokenizer (see `load_lm`).

    Attributes:
        model: the transformers model, in evaluation mode.
        tokenizer: its tokenizer.
        name: the name it was loaded by.
        window: the longest sequence in tokens, prompt and answer together.
        stop_ids: the token ids that end an answer.
        owner: whose a `Prefix` is: name and number format.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.owner = f"{name} in {model.dtype}"
        self.window = int(model.config.max_position_embeddings)
        self.stop_ids = stop_ids(model, tokenizer)
        self._cache_name = cache_name(model)

    def __repr__(self) -> str:
        return f"LanguageModel({self.name!r}, {self.n_parameters:,} parameters, {self.model.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def n_parameters(self) -> int:
        """Number of parameters; tied ones count once."""
        return sum(p.numel() for p in self.model.parameters())

    def encode(self, text: str) -> list[int]:
        """The token ids of a text, without any token added."""
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without the tokens that end an answer."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def chat_prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """The text that the chat format makes of messages ({"role": ..., "content": ...}), open for the answer."""
        return self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    @torch.no_grad()
    def prefix(self, text: str, after: Prefix | None = None) -> Prefix:
        """Run a shared beginning through the model once; pass it to `generate` or `score` as often as wanted.

        With `after`, an earlier prefix that the text begins with, only what is new is computed (a chat that goes on).
        """
        check_texts([text], "prefix")
        if after and after.learnt:
            raise ValueError("A learnt prefix has no text that another could begin with: give the text as a prompt.")
        ids = self.encode(text)
        self._check_window([ids], 0, "Prefix")
        shared = min(common_length(after.ids, ids), len(ids) - 1) if after else 0
        _, out = self._prefill([ids], after, shared)
        return Prefix(self.owner, text, tuple(ids), layers_of(out[self._cache_name]))

    @torch.no_grad()
    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 32,
        *,
        stop: Sequence[str] = (),
        prefix: Prefix | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        scored: bool = False,
        within: Sequence[str] | None = None,
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> Any:
        """Continue each prompt; the results come in the order of the prompts (one string for one string).

        Prompts are sorted by length and padded on the left, so that all rows of a batch end at the same place;
        the attention mask hides the padding, and a finished row leaves the batch.

        Args:
            max_new_tokens: the longest answer, in tokens; it ends earlier at an end token or a `stop` text.
            stop: texts that end an answer; they are cut off.
            prefix: a shared beginning from `prefix()`; each prompt continues it, as if both were one text. Or a learnt one
                (`KVPrefix.as_prefix`), which has no text; the prompt's first token then stands right after its slots.
            temperature: 0 takes the likeliest token; above 0 samples, each row with its own generator (`seed` + row).
            scored: give `Generated` (text, log-probability, tokens) in place of strings.
            within: for each prompt a text of which the answer must be a run of whole words, the likeliest at each token.
            progress: called with (prompts done, all prompts).

        Raises:
            ValueError: an empty prompt or stop text, or a prompt that doesn't fit into the window with its answer.
        """
        if max_new_tokens < 1 or not 0 <= temperature < float("inf") or (within and temperature):
            raise ValueError("max_new_tokens must be at least 1, temperature a number from 0 on, and 0 where it copies.")
        stop = check_texts(stop, "stop text")
        single = isinstance(prompts, str)
        rows, shared = self._rows([prompts] if isinstance(prompts, str) else prompts, prefix, max_new_tokens)
        if within is not None and (isinstance(within, str) or len(within) != len(rows)):
            raise ValueError(f"within needs a list with one text for each of the {len(rows)} prompts.")
        answers: list[Any] = [None] * len(rows)
        done = 0
        for chosen in make_batches([len(ids) + max_new_tokens for ids in rows], batch_size):
            pickers: list[Any] = [picker(temperature, seed + i) for i in chosen]
            if within is not None:
                pickers = [Copier(within[i], self.tokenizer, self.stop_ids) for i in chosen]
            for i, new in zip(
                chosen,
                self._continue([rows[i] for i in chosen], prefix, shared, max_new_tokens, stop, pickers),
                strict=True,
            ):
                answers[i] = new if scored else new.text
            done += len(chosen)
            if progress:
                progress(done, len(rows))
        return answers[0] if single else answers

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[str],
        continuations: Sequence[str] | Sequence[Sequence[str]],
        *,
        prefix: Prefix | None = None,
        batch_size: int = 16,
        progress: Progress | None = None,
    ) -> Any:
        """The log-probability (nats, summed over tokens) of each continuation given its prompt.

        One continuation for each prompt gives a list of floats; a list of continuations for each prompt gives a list
        of lists. Each prompt runs once, however many continuations it has, and logits are computed only where a
        continuation's token is predicted. Prompt and continuation are tokenised apart, so a continuation usually
        begins with a space, and no prompt ends with one.

        Raises:
            ValueError: different lengths, an empty prompt or continuation, or one that doesn't fit into the window.
        """
        if isinstance(prompts, str) or isinstance(continuations, str):
            raise TypeError("score takes lists: put the single prompt and continuation into lists.")
        prompts, continuations = list(prompts), list(continuations)
        if len(prompts) != len(continuations):
            raise ValueError(f"{len(prompts)} prompts but {len(continuations)} continuations; give one for each prompt.")
        nested = not all(isinstance(c, str) for c in continuations)
        groups = [list(c) if isinstance(c, Iterable) and not isinstance(c, str) else [c] for c in continuations]
        check_texts([c for group in groups for c in group], "continuation")
        targets = [[self.encode(c) for c in group] for group in groups]
        longest = max((len(t) for group in targets for t in group), default=0)
        rows, shared = self._rows(prompts, prefix, longest)
        scores: list[list[float]] = [[] for _ in rows]
        done = 0
        for chosen in make_batches([len(ids) + longest for ids in rows], batch_size):
            found = self._score_batch([rows[i] for i in chosen], prefix, shared, [targets[i] for i in chosen])
            for i, values in zip(chosen, found, strict=True):
                scores[i] = values
            done += len(chosen)
            if progress:
                progress(done, len(rows))
        return scores if nested else [group[0] for group in scores]

    @torch.no_grad()
    def last_logits(self, prompts: Sequence[str], batch_size: int = 16) -> torch.Tensor:
        """(prompts, vocab) logits of the token that follows each prompt, computed in batches of like length."""
        rows, _ = self._rows(prompts, None, 1)
        if not rows:
            return torch.empty(0, self.model.config.vocab_size, device=self.device)
        found: dict[int, torch.Tensor] = {}
        for chosen in make_batches([len(ids) for ids in rows], batch_size):
            _, out = self._prefill([rows[i] for i in chosen], None, 0)
            found |= dict(zip(chosen, out.logits[:, -1], strict=True))
        return torch.stack([found[i] for i in range(len(rows))])

    @torch.no_grad()
    def next_tokens(self, prompts: Sequence[str], k: int = 5) -> list[list[tuple[str, float]]]:
        """The k likeliest next tokens of each prompt with their probabilities, the likeliest first."""
        best = self.last_logits(prompts).float().softmax(-1).topk(k)
        return [
            [(self.tokenizer.decode([i]), p) for p, i in zip(*row, strict=True)]
            for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _rows(self, prompts: Sequence[str], prefix: Prefix | None, room: int) -> tuple[list[list[int]], int]:
        """Token ids of every prompt (prefix included), and how many leading ids all of them share with the prefix.

        Tokenising prefix and prompt as one text, and reusing only the ids that really agree, gives the very tokens
        that a call without a prefix would have; at least one id is left over, since its logits are needed. A learnt prefix
        is no text: a prompt after it is tokenised by itself, must not be empty, and shares all of its slots.
        """
        if prefix is not None and not isinstance(prefix, Prefix):
            raise TypeError("A prefix is what prefix(text) returns, not the text itself.")
        before, slots = (prefix.text, prefix.ids if prefix.learnt else ()) if prefix else ("", ())
        prompts = check_texts(prompts, "prompt", allow_empty=prefix is not None and not prefix.learnt)
        rows = [[*slots, *self.encode(before + prompt)] for prompt in prompts]
        self._check_window(rows, room, "Prompt")
        if prefix is None or prefix.learnt:
            return rows, len(slots)
        return rows, min((min(common_length(prefix.ids, ids), len(ids) - 1) for ids in rows), default=0)

    def _check_window(self, rows: list[list[int]], room: int, what: str) -> None:
        for i, ids in enumerate(rows):
            total = len(ids) + room
            if total > self.window:
                raise ValueError(
                    f"{what} {i} has {len(ids):,} tokens; with room for {room:,} more that is {total:,}, but the window "
                    f"of {self.name} is {self.window:,}. Shorten it by {total - self.window:,} tokens."
                )

    def _forward(self, batch: Batch, cache: Any, keep: int) -> Any:
        return self.model(
            input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions,
            use_cache=True, logits_to_keep=keep, **{self._cache_name: cache},
        )  # fmt: skip

    def _prefill(self, rows: list[list[int]], prefix: Prefix | None, shared: int) -> tuple[Batch, Any]:
        """Run the prompts of one batch; returns the batch and the model's output for its last position."""
        if prefix and prefix.owner != self.owner:
            raise ValueError(f"This prefix was computed by {prefix.owner}; make it anew with {self.owner}.")
        batch = Batch.of([ids[shared:] for ids in rows], self.device, before=shared)
        cache = cache_from(prefix.layers, shared, len(rows)) if prefix and shared else None
        return batch, self._forward(batch, cache, keep=1)

    def _continue(
        self, rows: list[list[int]], prefix: Prefix | None, shared: int, limit: int, stop: Sequence[str], pickers: list,
        narrowed: Callable[[list[int]], None] | None = None,
    ) -> list[Generated]:  # fmt: skip
        """The answers of one batch. When rows leave it, `narrowed` gets the numbers of those that go on, in order."""
        batch, out = self._prefill(rows, prefix, shared)
        new: list[list[int]] = [[] for _ in rows]
        texts = [""] * len(rows)
        sums, counts = [0.0] * len(rows), [0] * len(rows)
        alive = list(range(len(rows)))
        for step in range(limit):
            last = out.logits[:, -1]
            picked = [pick(logits) for pick, logits in zip((pickers[i] for i in alive), last, strict=True)]
            chances = last.float().log_softmax(-1)[range(len(picked)), picked].tolist()
            going = []
            for place, (i, token) in enumerate(zip(alive, picked, strict=True)):
                sums[i], counts[i] = sums[i] + chances[place], counts[i] + 1
                if token not in self.stop_ids:
                    new[i].append(token)
                    texts[i] = self.decode(new[i])
                    cut = min((texts[i].find(s) for s in stop if s in texts[i]), default=-1)
                    if cut < 0:
                        going.append(place)
                    else:
                        texts[i] = texts[i][:cut]
            if not going or step + 1 == limit:
                break
            cache = out[self._cache_name]
            if len(going) < len(alive):
                kept = torch.tensor(going, device=self.device)
                cache, batch = select_rows(cache, kept), batch.rows(kept)
                alive = [alive[place] for place in going]
                if narrowed:
                    narrowed(alive)
            batch = batch.extended([new[i][-1] for i in alive])
            out = self._forward(batch, cache, keep=1)
        texts = [getattr(pick, "whole", str)(text) for pick, text in zip(pickers, texts, strict=True)]
        return [Generated(*parts) for parts in zip(texts, sums, counts, strict=True)]

    def _score_batch(
        self, rows: list[list[int]], prefix: Prefix | None, shared: int, targets: list[list[list[int]]]
    ) -> list[list[float]]:
        batch, out = self._prefill(rows, prefix, shared)
        first = out.logits[:, -1].float().log_softmax(-1)
        scores = [[first[row, t[0]].item() for t in group] for row, group in enumerate(targets)]
        # What is longer than one token needs one more run, for all rows and continuations side by side.
        longer = [(row, j) for row, group in enumerate(targets) for j, t in enumerate(group) if len(t) > 1]
        for part in make_batches([batch.width + LOGITS_COST * len(targets[r][j]) for r, j in longer], 32):
            pairs = [longer[k] for k in part]
            kept = torch.tensor([row for row, _ in pairs], device=self.device)
            tails = [targets[row][j] for row, j in pairs]
            more = batch.rows(kept).followed_by([t[:-1] for t in tails])
            logits = self._forward(more, select_rows(out[self._cache_name], kept), keep=0).logits
            for (row, j), tail, here in zip(pairs, tails, logits, strict=True):
                rest = torch.tensor(tail[1:], device=self.device)
                after = here[: len(rest)].float().log_softmax(-1)
                scores[row][j] += after.gather(1, rest[:, None]).sum().item()
        return scores
