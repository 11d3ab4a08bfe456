"""A prefix is PEFT's, as is a cartridge; from a text it is that text; and at use it is what it was in training."""

from __future__ import annotations

import pytest
import torch
from peft import CartridgeConfig, PrefixTuningConfig, get_peft_model

from memcourse.model import seed_everything
from memcourse.model.cache import layers_of
from memcourse.weights.prefix import KVPrefix, refuse_checkpointing, with_prefix
from memcourse.weights.tuned import Tuned, lower_states

from .adapter_support import random_ids, small_llama, small_lm
from .model_support import as_ids

TEXT = "In the old town of Port Sable, the harbour master keeps a list of every ship that ever came in from the north."
PLAIN = "The museum is open from nine to five. Visitors who come in the morning can join a tour through the whole house."
PROMPTS = ["The list", "Where does the harbour master keep it? He", "Once upon a time there was a", "2+2="]


def theirs_and_ours(slots: int, frozen: int):
    """PEFT's model and our prefix with the same numbers, and the model to run ours on."""
    options = {"task_type": "CAUSAL_LM", "num_virtual_tokens": slots}
    config = CartridgeConfig(**options, num_frozen_tokens=frozen) if frozen else PrefixTuningConfig(**options)
    theirs = get_peft_model(small_llama(), config)
    flat = theirs.get_prompt_embedding_to_save("default")
    return theirs, KVPrefix.from_flat(flat, small_llama(), frozen), small_llama()


def loss_of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


@pytest.mark.parametrize(("slots", "frozen"), [(1, 0), (5, 0), (5, 1), (5, 4)])
def test_a_prefix_is_pefts(slots, frozen):
    theirs, ours, model = theirs_and_ours(slots, frozen)
    count = sum(weight.numel() for weight in theirs.parameters() if weight.requires_grad)
    assert ours.n_parameters == count == (slots - frozen) * 4 * 2 * 2 * 8
    ids, encoder = random_ids(), theirs.prompt_encoder["default"]
    optimizers = [torch.optim.AdamW([w for w in m.parameters() if w.requires_grad], lr=0.1) for m in (theirs, ours)]
    for step in range(2):
        found = theirs(ids, attention_mask=torch.ones_like(ids)).logits, with_prefix(model, ours, ids)
        torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
        if step == 0:
            for logits in found:
                loss_of(logits, ids).backward()
            grad = encoder.trainable_embedding.grad if frozen else encoder.embedding.weight.grad
            expected = KVPrefix.from_flat(grad, model).trained
            assert expected.abs().max() > 1e-3
            torch.testing.assert_close(ours.trained.grad, expected.data, atol=1e-5, rtol=1e-4)
            for optimizer in optimizers:
                optimizer.step()
    after = theirs.get_prompt_embedding_to_save("default")
    torch.testing.assert_close(ours.flat().detach(), after, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", [0, 1])
def test_it_begins_with_the_numbers_that_peft_begins_with(frozen):
    model = small_llama()
    seed_everything(3)
    ours = KVPrefix.random(model, 6, frozen).flat()
    options = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 6}
    config = CartridgeConfig(**options) if frozen else PrefixTuningConfig(**options)
    seed_everything(3)
    theirs = get_peft_model(model, config).get_prompt_embedding_to_save("default")
    assert torch.equal(ours, theirs) and abs(float(theirs.std()) - 1) < 0.1


def test_flat_and_back_is_the_same(lm):
    prefix = KVPrefix.random(lm, 7, frozen=2)
    again = KVPrefix.from_flat(prefix.flat().detach(), lm.model, 2)
    assert torch.equal(again.held, prefix.held) and torch.equal(again.trained, prefix.trained)
    assert prefix.held.shape == (30, 2, 3, 2, 64) and prefix.trained.shape == (30, 2, 3, 5, 64)
    assert prefix.n_parameters == 5 * 11_520 and prefix.nbytes == 4 * 7 * 11_520
    assert [name for name, _ in prefix.named_parameters()] == ["trained"]


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_prefix_from_a_text_is_that_text(lm, frozen):
    before = lm.encode(TEXT)[:12]
    rows = [lm.encode(prompt) for prompt in PROMPTS]
    width = max(map(len, rows))
    ids = torch.tensor([row + [5] * (width - len(row)) for row in rows])  # padded on the right
    with torch.no_grad():
        found = with_prefix(lm.model, KVPrefix.from_text(lm, TEXT, 12, frozen), ids)
        for row, logits in zip(rows, found, strict=True):
            whole = lm.model(torch.tensor([before + row])).logits[0, len(before) :]
            torch.testing.assert_close(logits[: len(row)], whole, atol=1e-4, rtol=1e-4)


def test_a_random_prefix_hurts_and_one_from_a_text_does_not(lm):
    ids = torch.tensor([lm.encode(PLAIN)])
    seed_everything(0)
    prefixes = KVPrefix.random(lm.model, 16), KVPrefix.from_text(lm, TEXT, 16)
    with torch.no_grad():
        plain = float(loss_of(lm.model(ids).logits, ids))
        random, text = (float(loss_of(with_prefix(lm.model, prefix, ids), ids)) for prefix in prefixes)
    assert random > plain + 2 and text < plain + 0.2, (plain, random, text)


def test_frozen_slots_and_the_model_never_change_in_training(lm):
    model = small_lm(lm)
    prefix = KVPrefix.from_text(model, TEXT, 6, frozen=2)
    before, weights = prefix.kv.detach().clone(), [weight.clone() for weight in model.model.parameters()]
    ids, losses = random_ids(vocab=40), []
    optimizer = torch.optim.AdamW(prefix.parameters(), lr=0.05, weight_decay=0.5)
    for _ in range(12):
        loss = loss_of(with_prefix(model.model, prefix, ids), ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    assert torch.equal(prefix.kv[..., :2, :], before[..., :2, :])
    assert ((prefix.kv - before)[..., 2:, :].abs().amax((2, 3, 4)) > 1e-3).all()  # keys and values of every layer moved
    assert all(torch.equal(new, old) for new, old in zip(model.model.parameters(), weights, strict=True))


def plain_logs(lm, prefix: KVPrefix, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (tokens, vocab) after a prefix, by one plain run of transformers."""
    places = torch.arange(prefix.slots, prefix.slots + len(ids))[None]
    with torch.no_grad():
        out = lm.model(torch.tensor([ids]), position_ids=places, **{lm._cache_name: prefix.cache(1)})
    return out.logits[0].log_softmax(-1)


def trained_a_little(lm) -> KVPrefix:
    """A prefix that no text has, and that still lets the model speak."""
    prefix = KVPrefix.from_text(lm, TEXT, 10)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        prefix.trained += 0.3 * torch.randn(prefix.trained.shape, generator=generator)
    return prefix


def test_generating_after_a_learnt_prefix_is_a_plain_run_for_every_prompt(lm, monkeypatch):
    prefix = trained_a_little(lm)
    learnt = prefix.as_prefix(lm)
    as_ids(lm, monkeypatch)
    monkeypatch.setattr(lm, "stop_ids", frozenset())
    found = lm.generate(PROMPTS, 6, prefix=learnt, scored=True)
    answers = [[int(i) for i in answer.text.split()] for answer in found]
    assert len({tuple(ids) for ids in answers}) == len(PROMPTS) and len({len(lm.encode(p)) for p in PROMPTS}) > 2
    for prompt, ids, answer in zip(PROMPTS, answers, found, strict=True):
        logs = plain_logs(lm, prefix, lm.encode(prompt) + ids)[-len(ids) - 1 : -1]
        assert logs.argmax(1).tolist() == ids
        assert answer.logprob == pytest.approx(float(logs.amax(1).sum()), abs=1e-4)
    monkeypatch.setattr(lm, "stop_ids", frozenset({answers[1][2]}))  # the second row leaves early
    cut = [ids[: ids.index(answers[1][2])] if answers[1][2] in ids else ids for ids in answers]
    assert {len(ids) for ids in cut} >= {2, 6}
    assert lm.generate(PROMPTS, 6, prefix=learnt) == [" ".join(map(str, ids)) for ids in cut]
    assert lm.generate(PROMPTS[0], 6) != found[0].text


def test_scoring_after_a_learnt_prefix_is_a_plain_run(lm):
    prefix = trained_a_little(lm)
    endings = [[" of ships", " is"], [" keeps it in the harbour"], [" time"], ["4"]]
    found = lm.score(PROMPTS, endings, prefix=prefix.as_prefix(lm))
    for prompt, group, scores in zip(PROMPTS, endings, found, strict=True):
        for ending, score in zip(group, scores, strict=True):
            before, after = lm.encode(prompt), lm.encode(ending)
            logs = plain_logs(lm, prefix, before + after)[len(before) - 1 : -1]
            assert score == pytest.approx(float(logs[range(len(after)), after].sum()), abs=1e-4)


def test_a_learnt_prefix_is_a_copy_of_its_own(lm):
    model = small_lm(lm)
    prefix = KVPrefix.random(model, 5, frozen=1)
    learnt = prefix.as_prefix(model)
    before = model.score(["a b", "c"], [" d", " e f"], prefix=learnt)
    assert (len(learnt), learnt.text, learnt.nbytes, learnt.learnt) == (5, "", prefix.nbytes, True)
    assert not any(tensor.requires_grad for pair in learnt.layers for tensor in pair)
    with torch.no_grad():
        prefix.trained.zero_(), prefix.held.zero_()
    model.generate(["a b", "c"], 3, prefix=learnt)
    assert model.score(["a b", "c"], [" d", " e f"], prefix=learnt) == before
    keys, values = layers_of(KVPrefix.random(model, 5).cache(3))[0]
    assert keys.shape == values.shape == (3, 2, 5, 8) and torch.equal(keys[0], keys[2]) and keys.requires_grad


def test_what_a_learnt_prefix_can_not_do_is_refused(lm):
    model = small_lm(lm)
    learnt = KVPrefix.random(model, 60).as_prefix(model)
    with pytest.raises(ValueError, match="no text that another could begin with"):
        model.prefix("a b", after=learnt)
    for call in (lambda p: model.generate(p, 1, prefix=learnt), lambda p: model.score(p, [" a"], prefix=learnt)):
        with pytest.raises(ValueError, match="Prompt 0 is empty"):
            call([""])
    assert len(model.generate(["a a a"], 1, prefix=learnt)) == 1
    with pytest.raises(ValueError, match=r"has 64 tokens; with room for 1 more .* Shorten it by 1 tokens"):
        model.generate(["a a a a"], 1, prefix=learnt)
    with pytest.raises(ValueError, match="computed by small"):
        lm.generate(["a"], 1, prefix=learnt)
    with pytest.raises(ValueError, match="of another model"):
        KVPrefix.random(model, 3).as_prefix(lm)


@pytest.mark.parametrize("start", [1, 3])
def test_a_prefix_of_the_upper_layers_only(lm, start):
    """The whole model with a prefix everywhere, whose lower layers are kept from seeing it, gives the same."""
    model, ids = small_llama(), random_ids()
    seed_everything(1)
    upper = KVPrefix.random(model, 5, frozen=1, start=start)
    assert upper.held.shape == (4 - start, 2, 2, 1, 8) and upper.n_parameters == 4 * (4 - start) * 2 * 2 * 8
    full = KVPrefix.random(model, 5)
    with torch.no_grad():
        full.trained[start:] = upper.kv
    hidden = torch.ones(ids.shape[1], 5 + ids.shape[1], dtype=torch.bool).tril(5)
    hidden[:, :5] = False
    blind = lambda _, args, kwargs: (args, kwargs | {"attention_mask": hidden[None, None]})  # noqa: E731
    hooks = [layer.register_forward_pre_hook(blind, with_kwargs=True) for layer in model.model.layers[:start]]
    expected = with_prefix(model, full, ids)
    for hook in hooks:
        hook.remove()
    found = Tuned(model, start, upper)(lower_states(model, ids, start))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    loss_of(found, ids).backward()
    assert (upper.trained.grad.abs().amax((1, 2, 3, 4)) > 0).all()
    for call in (lambda: with_prefix(model, upper, ids), lambda: upper.as_prefix(small_lm(lm)), upper.flat):
        with pytest.raises(ValueError, match=f"begins at layer {start}"):
            call()


def test_gradient_checkpointing_is_refused_in_training_only():
    model, ids = small_llama(), random_ids()
    prefix = KVPrefix.random(model, 4)
    expected = with_prefix(model, prefix, ids)
    model.gradient_checkpointing_enable()
    torch.testing.assert_close(with_prefix(model, prefix, ids), expected)
    model.train()
    with pytest.raises(ValueError, match="checkpointing drops a prefix"):
        with_prefix(model, prefix, ids)
    model.gradient_checkpointing_disable()
    refuse_checkpointing(model)
    torch.testing.assert_close(with_prefix(model, prefix, ids), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda lm: KVPrefix.random(lm, 0), "at least 1 slot"),
        (lambda lm: KVPrefix.random(lm, 3, frozen=3), "not 3 with 3 frozen"),
        (lambda lm: KVPrefix.random(lm, 3, frozen=-1), "not 3 with -1 frozen"),
        (lambda lm: KVPrefix(torch.zeros(4, 2, 2, 3, 8), frozen=3), "not 3 with 3 frozen"),
        (lambda lm: KVPrefix.random(lm, 3, start=4), r"layers 0 to 3; a prefix can't begin at layer 4"),
        (lambda lm: KVPrefix.random(lm, 3, start=-1), "can't begin at layer -1"),
        (lambda lm: KVPrefix.random(lm, 64), "64 slots leave no room"),
        (lambda lm: KVPrefix.from_text(lm, "a a", 3), "has 2 tokens, too few to fill 3 slots"),
        (lambda lm: KVPrefix.from_text(lm, "", 3), "Text 0 is empty"),
        (lambda lm: KVPrefix.from_flat(torch.zeros(3, 64), lm), r"shape \(slots, 128\), not \(3, 64\)"),
        (lambda lm: KVPrefix.from_flat(torch.zeros(2, 128), lm, 2), "not 2 with 2 frozen"),
        (lambda lm: with_prefix(lm.model, KVPrefix.random(lm, 60), random_ids(1, 5)), "60 slots and 5 tokens don't fit"),
    ],
)
def test_bad_input_is_refused(lm, make, message):
    with pytest.raises(ValueError, match=message):
        make(small_lm(lm))
