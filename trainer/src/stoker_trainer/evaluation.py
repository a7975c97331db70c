"""Measuring a model: loss on held-out rows, and answers to sample prompts."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def held_out_loss(trainer: Any) -> float | None:
    """Mean loss per trained token over the held-out rows, in nats; None when there are none.

    Weighted by tokens, so it does not depend on the batch size as the mean over batches would.
    """
    import torch

    if trainer.eval_dataset is None or len(trainer.eval_dataset) == 0:
        return None
    model, was_training = trainer.model, trainer.model.training
    model.eval()
    total, tokens = 0.0, 0
    with torch.no_grad():
        for batch in trainer.get_eval_dataloader():
            inputs = trainer._prepare_inputs(batch)  # noqa: SLF001 - to the device, as training does
            one = torch.tensor(1, device=inputs["labels"].device)
            total += float(trainer.compute_loss(model, inputs, num_items_in_batch=one))
            tokens += int((inputs["labels"][..., 1:] != -100).sum())
    model.train(was_training)
    # compute_loss also collects TRL's own metrics, which would leak into the next training log.
    trainer._metrics["eval"].clear()  # noqa: SLF001
    return total / max(tokens, 1)


def perplexity(loss: float | None) -> float | None:
    """exp(loss), or None when it is not finite."""
    if loss is None or loss > 700:
        return None
    return math.exp(loss)


def answer_prompts(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    *,
    is_chat: bool,
    max_new_tokens: int,
) -> list[str]:
    """The model's greedy answer to each prompt, as text without special tokens."""
    was_training = model.training
    model.eval()
    answers = [_answer(model, tokenizer, prompt, is_chat=is_chat, max_new_tokens=max_new_tokens) for prompt in prompts]
    model.train(was_training)
    return answers


@contextmanager
def base_model(model: Any) -> Iterator[None]:
    """Within this block a LoRA model answers as if it had no adapter."""
    with model.disable_adapter():
        yield


def _answer(
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str,
    *,
    is_chat: bool,
    max_new_tokens: int,
) -> str:
    import torch

    if is_chat:
        turns = [{"role": "user", "content": prompt}]
        inputs: Any = tokenizer.apply_chat_template(
            turns,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
    inputs = inputs.to(model.device)
    with torch.no_grad():
        # The model's own generation settings may ask for sampling; a receipt needs the same answer every time.
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
        )
    return str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
