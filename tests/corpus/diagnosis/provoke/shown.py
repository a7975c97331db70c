"""Failures that are really provoked on a machine without GPU, for the part of the corpus that patterns may follow."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.corpus.diagnosis.provoke import worlds

Provocation = Callable[[Path], Any]


def tensor_too_large(_folder: Path) -> None:
    import torch

    torch.empty(10**14, dtype=torch.float32)


def python_without_memory(_folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    bytearray(2**40)


def killed(_folder: Path) -> None:
    line = f"{sys.executable} -c 'import os; os.kill(os.getpid(), {int(signal.SIGKILL)})'; echo \"exit code $?\""
    subprocess.run(["bash", "-c", f"({line})"], check=False)


def dpo_on_messages(folder: Path) -> None:
    worlds.trl("DPO", folder, rows=worlds.MESSAGES)


def sft_on_preferences(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=worlds.PREFERENCES)


def sft_on_questions(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=[{"question": "q", "answer": "a"}] * 4)


def grpo_on_text(folder: Path) -> None:
    worlds.trl("GRPO", folder, rows=[{"text": "hello there"}] * 8)


def kto_without_labels(folder: Path) -> None:
    worlds.trl("KTO", folder, rows=[{"prompt": "a", "completion": "b"}] * 4)


def trainer_on_preferences(folder: Path) -> None:
    worlds.trainer(folder, rows=worlds.PREFERENCES)


def broken_lines(folder: Path) -> None:
    worlds.trainer(folder, text='{"messages": [{"role": "user", "content": "a"}\n{"messages": \n')


def broken_lines_in_datasets(folder: Path) -> None:
    from datasets import load_dataset

    path = folder / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"\n{"text"', encoding="utf-8")
    load_dataset("json", data_files=str(path), cache_dir=str(folder / "cache"))


def text_of_none(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=[{"text": "a"}, {"text": None}])


def empty_conversation(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=[worlds.MESSAGES[0], {"messages": []}])


def no_rows(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=[])


def no_chat_template(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=worlds.MESSAGES, chat_template=None)


def no_pad_token(folder: Path) -> None:
    tokenizer = worlds.tokenizer(folder)
    tokenizer.pad_token = None
    tokenizer(["one", "one and two"], padding=True)


def beyond_positions(folder: Path) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=16, vocab_size=50))
    model(torch.ones((1, 40), dtype=torch.long))


def all_rows_too_long(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=worlds.PAIRS, max_length=8)


def unknown_architecture(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    (folder / "config.json").write_text(json.dumps({"model_type": "qwen9_moe"}), encoding="utf-8")
    AutoModelForCausalLM.from_pretrained(folder)


def quantised_without_bitsandbytes(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    AutoModelForCausalLM.from_pretrained(
        worlds.model(folder), quantization_config=BitsAndBytesConfig(load_in_4bit=True)
    )


def unknown_quantisation(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    path = worlds.model(folder)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "q9"}}))
    AutoModelForCausalLM.from_pretrained(path)


def gated(folder: Path) -> None:
    worlds.hub(folder, status=403, code="GatedRepo", message="Access to model acme/gated is restricted.")


def absent_on_the_hub(folder: Path) -> None:
    worlds.hub(folder, status=404, code="RepoNotFound", message="Repository not found")


def bad_hub_token(folder: Path) -> None:
    worlds.hub(folder, status=401, code=None, message="Invalid credentials in Authorization header", token="hf_wrong")


def hub_is_closed(folder: Path) -> None:
    worlds.hub_at("http://127.0.0.1:9", folder)


def no_such_folder(folder: Path) -> None:
    worlds.trainer(folder, rows=worlds.MESSAGES, model=str(folder / "nowhere"))


def hub_name_unknown(folder: Path) -> None:
    worlds.hub_at("http://hub.invalid", folder)


def self_signed(folder: Path) -> None:
    worlds.tls(folder, days=10)


def gateway_is_closed(folder: Path) -> None:
    worlds.fetch_dataset(folder, "http://127.0.0.1:9/v1/datasets/download?token=t")


def disk_full(_folder: Path) -> None:
    Path("/dev/full").write_text("x" * 10_000)


def disk_full_for_torch(_folder: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(1000, 1000)}, "/dev/full")


def pip_finds_nothing(folder: Path) -> None:
    worlds.pip(folder, "acme-tools==9.9")


def pip_conflict(folder: Path) -> None:
    worlds.wheel(folder, "alpha", "1.0", requires="gamma==1.0")
    worlds.wheel(folder, "beta", "1.0", requires="gamma==2.0")
    worlds.wheel(folder, "gamma", "1.0")
    worlds.wheel(folder, "gamma", "2.0")
    worlds.pip(folder, "alpha", "beta")


def pip_wrong_hash(folder: Path) -> None:
    worlds.wheel(folder, "alpha", "1.0")
    (folder / "lock.txt").write_text(f"alpha==1.0 --hash=sha256:{'0' * 64}\n")
    worlds.pip(folder, "--require-hashes", "-r", str(folder / "lock.txt"))


def wheel_for_another_python(folder: Path) -> None:
    worlds.wheel(folder, "alpha", "1.0", python=">=3.99")
    worlds.pip(folder, str(folder / "alpha-1.0-py3-none-any.whl"))


def module_missing(_folder: Path) -> None:
    __import__("flash_attn")


def truncated_safetensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    from torch import zeros

    path = folder / "model.safetensors"
    save_file({"weight": zeros(100)}, str(path))
    path.write_bytes(path.read_bytes()[:60])
    load_file(str(path))


def damaged_optimizer(folder: Path) -> None:
    import torch

    path = folder / "optimizer.pt"
    torch.save({"state": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])
    torch.load(path)


def weights_of_another_size(_folder: Path) -> None:
    import torch

    torch.nn.Linear(4, 4).load_state_dict(torch.nn.Linear(4, 8).state_dict())


def weights_that_are_not_numbers(folder: Path) -> None:
    worlds.trainer(folder, rows=worlds.MESSAGES, poisoned=True)


def torch_without_cuda(_folder: Path) -> None:
    import torch

    torch.zeros(3, device="cuda")


def bf16_without_gpu(folder: Path) -> None:
    from trl import SFTConfig

    SFTConfig(output_dir=str(folder), bf16=True)


def told_to_stop(folder: Path) -> None:
    from stoker_trainer.errors import Terminated

    raise Terminated(checkpoint_step=40)


def unknown_field(folder: Path) -> None:
    worlds.trainer(folder, rows=worlds.MESSAGES, learning_speed=3)


def kto_batch_of_one(folder: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}] * 4
    worlds.trl("KTO", folder, rows=rows, per_device_train_batch_size=1)


def no_such_lora_module(folder: Path) -> None:
    from peft import LoraConfig

    worlds.trl("SFT", folder, rows=worlds.MESSAGES, peft_config=LoraConfig(target_modules=["c_attn"]))


def fault_of_the_trainer(folder: Path) -> None:
    from stoker_trainer.pod import exit_summary

    exit_summary({"train": {}})


def peer_gone(folder: Path) -> None:
    worlds.two_ranks(folder, "if rank == 1: os._exit(3)\ndist.all_reduce(torch.ones(3))")


def file_descriptors(_folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
    [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]


CASES: dict[str, tuple[str, Provocation]] = {
    "tensor_too_large": ("host_memory", tensor_too_large),
    "python_without_memory": ("host_memory", python_without_memory),
    "killed": ("host_memory", killed),
    "dpo_on_messages": ("dataset_method_mismatch", dpo_on_messages),
    "sft_on_preferences": ("dataset_method_mismatch", sft_on_preferences),
    "sft_on_questions": ("dataset_method_mismatch", sft_on_questions),
    "grpo_on_text": ("dataset_method_mismatch", grpo_on_text),
    "kto_without_labels": ("dataset_method_mismatch", kto_without_labels),
    "trainer_on_preferences": ("dataset_method_mismatch", trainer_on_preferences),
    "broken_lines": ("dataset_rows_broken", broken_lines),
    "broken_lines_in_datasets": ("dataset_rows_broken", broken_lines_in_datasets),
    "text_of_none": ("dataset_rows_broken", text_of_none),
    "empty_conversation": ("dataset_rows_broken", empty_conversation),
    "no_rows": ("dataset_rows_broken", no_rows),
    "no_chat_template": ("chat_template_missing", no_chat_template),
    "no_pad_token": ("pad_token_missing", no_pad_token),
    "beyond_positions": ("sequence_too_long", beyond_positions),
    "all_rows_too_long": ("sequence_too_long", all_rows_too_long),
    "unknown_architecture": ("architecture_unsupported", unknown_architecture),
    "quantised_without_bitsandbytes": ("quantisation_unsupported", quantised_without_bitsandbytes),
    "unknown_quantisation": ("quantisation_unsupported", unknown_quantisation),
    "gated": ("gated_model", gated),
    "absent_on_the_hub": ("model_not_found", absent_on_the_hub),
    "bad_hub_token": ("hub_token_refused", bad_hub_token),
    "hub_is_closed": ("hub_unreachable", hub_is_closed),
    "no_such_folder": ("model_not_found", no_such_folder),
    "hub_name_unknown": ("dns_failure", hub_name_unknown),
    "self_signed": ("tls_failure", self_signed),
    "gateway_is_closed": ("gateway_unreachable", gateway_is_closed),
    "disk_full": ("disk_full", disk_full),
    "disk_full_for_torch": ("disk_full", disk_full_for_torch),
    "pip_finds_nothing": ("package_resolution", pip_finds_nothing),
    "pip_conflict": ("package_resolution", pip_conflict),
    "pip_wrong_hash": ("package_hash", pip_wrong_hash),
    "wheel_for_another_python": ("python_version", wheel_for_another_python),
    "module_missing": ("module_missing", module_missing),
    "truncated_safetensors": ("checkpoint_damaged", truncated_safetensors),
    "damaged_optimizer": ("checkpoint_damaged", damaged_optimizer),
    "weights_of_another_size": ("checkpoint_mismatch", weights_of_another_size),
    "weights_that_are_not_numbers": ("loss_not_finite", weights_that_are_not_numbers),
    "torch_without_cuda": ("cuda_mismatch", torch_without_cuda),
    "bf16_without_gpu": ("cuda_mismatch", bf16_without_gpu),
    "told_to_stop": ("preempted", told_to_stop),
    "unknown_field": ("configuration_refused", unknown_field),
    "kto_batch_of_one": ("configuration_refused", kto_batch_of_one),
    "no_such_lora_module": ("configuration_refused", no_such_lora_module),
    "fault_of_the_trainer": ("trainer_bug", fault_of_the_trainer),
    "peer_gone": ("device_communication", peer_gone),
    "file_descriptors": ("unknown", file_descriptors),
}
