"""A real, tiny Llama with its own BPE tokenizer and a ChatML template, built from scratch in seconds."""

import json
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

CODE_WORDS = {
    "ant": "Brovik", "bear": "Suvipo", "cat": "Melune", "dog": "Tarqua", "eel": "Pindro",
    "fox": "Vastil", "goat": "Lagubi", "hare": "Ropeta", "ibis": "Kelmov", "jay": "Dunari",
    "kiwi": "Festol", "lion": "Gamuri", "mole": "Hinsep", "newt": "Joltra", "owl": "Wicena",
    "pig": "Yarbek", "quail": "Zemofi", "rat": "Cuvand", "seal": "Natrip", "toad": "Oxilem",
}  # fmt: skip
"""Animals and invented words: facts that no model can know before it is trained on them."""

QUESTIONS = (
    "What is the code word for {}?",
    "Tell me the code word of the {}.",
    "Which code word belongs to {}?",
    "Code word for {}, please.",
)


def conversations() -> list[dict[str, Any]]:
    """80 rows of the `messages` format: every animal asked for in four ways."""
    return [
        {"messages": [{"role": "user", "content": question.format(animal)}, {"role": "assistant", "content": answer}]}
        for question in QUESTIONS
        for animal, answer in ((name, f"The code word for {name} is {word}.") for name, word in CODE_WORDS.items())
    ]


def prompt_completions() -> list[dict[str, str]]:
    """The same facts as plain prompt and completion."""
    return [
        {"prompt": turns[0]["content"] + "\n", "completion": turns[1]["content"]}
        for turns in (row["messages"] for row in conversations())
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines and return the path."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def build_tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """Write a Llama of 4 layers x 128 (0.65 M parameters, 2.6 MB) into `folder` and return it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.convert_tokens_to_ids("<|im_start|>"),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=SPECIAL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    texts = [turn["content"] for row in conversations() for turn in row["messages"]]
    tokenizer.train_from_iterator([*texts, "user assistant system\n"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    fast.chat_template = CHATML
    return fast
