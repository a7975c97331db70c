"""Failures for the held-out part: no pattern may be written from what these say."""

import json
import subprocess
import sys
from pathlib import Path

from tests.corpus.diagnosis.provoke import worlds
from tests.corpus.diagnosis.provoke.shown import Provocation


def array_too_large(_folder: Path) -> None:
    import numpy as np

    np.ones((10**7, 10**7))


def reward_on_messages(folder: Path) -> None:
    worlds.trl("Reward", folder, rows=worlds.MESSAGES)


def dpo_on_pairs(folder: Path) -> None:
    worlds.trl("DPO", folder, rows=[{"prompt": "a", "completion": "b"}] * 4)


def dpo_of_mixed_shapes(folder: Path) -> None:
    turn = [{"role": "assistant", "content": "b"}]
    worlds.trl("DPO", folder, rows=[{"prompt": "a", "chosen": turn, "rejected": turn}] * 4)


def trainer_on_strange_columns(folder: Path) -> None:
    worlds.trainer(folder, rows=[{"colour": "red"}] * 4)


def rejected_of_none(folder: Path) -> None:
    worlds.trl("DPO", folder, rows=[{"prompt": "a", "chosen": "b", "rejected": None}] * 4)


def truncated_parquet(folder: Path) -> None:
    from datasets import Dataset, load_dataset

    path = folder / "rows.parquet"
    Dataset.from_list(worlds.MESSAGES).to_parquet(str(path))
    path.write_bytes(path.read_bytes()[:300])
    load_dataset("parquet", data_files=str(path), cache_dir=str(folder / "cache"))


def rows_of_latin_1(folder: Path) -> None:
    (folder / "rows.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    (folder / "rows.txt").read_text(encoding="utf-8")


def completions_too_long_for_dpo(folder: Path) -> None:
    rows = [{"prompt": "a " * 60, "chosen": "b " * 60, "rejected": "c " * 60}] * 4
    worlds.trl("DPO", folder, rows=rows, max_length=4)


def template_without_assistant_marks(folder: Path) -> None:
    worlds.trl("SFT", folder, rows=worlds.MESSAGES, assistant_only_loss=True)


def model_of_custom_code(folder: Path) -> None:
    from transformers import AutoConfig

    config = {"model_type": "acme", "auto_map": {"AutoConfig": "configuration_acme.AcmeConfig"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "configuration_acme.py").write_text("class AcmeConfig: pass\n", encoding="utf-8")
    AutoConfig.from_pretrained(folder, trust_remote_code=False)


def folder_without_config(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder)


def absent_revision(folder: Path) -> None:
    worlds.hub(folder, status=404, code="RevisionNotFound", message="Invalid rev id: refs")


def hub_overloaded(folder: Path) -> None:
    worlds.hub(folder, status=503, code=None, message="Service Unavailable")


def gated_without_token(folder: Path) -> None:
    worlds.hub(folder, status=401, code="GatedRepo", message="Access to model acme/gated is restricted. Log in.")


def gptq_without_library(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    path = worlds.model(folder)
    config = json.loads((path / "config.json").read_text())
    quantised = {"quantization_config": {"quant_method": "gptq", "bits": 4, "dataset": "c4"}}
    (path / "config.json").write_text(json.dumps(config | quantised))
    AutoModelForCausalLM.from_pretrained(path)


def name_unknown_for_pip(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--retries", "1", "--timeout", "2", "--target", str(folder)]
    index = ["-i", "http://packages.invalid/simple", "alpha-tools-of-acme"]
    subprocess.run([*command, *index], check=False, env=worlds.plain_environment())


def name_unknown_for_gateway(folder: Path) -> None:
    worlds.fetch_dataset(folder, "http://gateway.invalid/v1/datasets/download?token=t")


def no_tls_on_the_other_side(_folder: Path) -> None:
    import http.server
    import threading
    import urllib.request

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"https://127.0.0.1:{server.server_port}/")


def disk_full_for_safetensors(_folder: Path) -> None:
    import torch
    from safetensors.torch import save

    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(save({"weight": torch.zeros(10)}))


def pip_without_lock_hash(folder: Path) -> None:
    worlds.wheel(folder, "alpha", "1.0")
    (folder / "lock.txt").write_text("alpha==1.0\n")
    worlds.pip(folder, "--require-hashes", "-r", str(folder / "lock.txt"))


def only_wheels_for_another_python(folder: Path) -> None:
    worlds.wheel(folder, "alpha", "1.0", python="<3.0")
    worlds.pip(folder, "alpha")


def deepspeed_missing(_folder: Path) -> None:
    __import__("deepspeed.ops")


def garbage_pickle(folder: Path) -> None:
    import torch

    path = folder / "optimizer.pt"
    path.write_bytes(b"this is not a checkpoint")
    torch.load(path)


def adapter_of_another_rank(folder: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(worlds.model(folder))
    get_peft_model(base, LoraConfig(r=4, target_modules="all-linear")).save_pretrained(folder / "adapter")
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 8}))
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(worlds.model(folder)), folder / "adapter")


def no_gpu_to_pick(_folder: Path) -> None:
    import torch

    torch.cuda.set_device(0)


def grpo_batch_not_divisible(folder: Path) -> None:
    rows = [{"prompt": "hello"}] * 8
    worlds.trl("GRPO", folder, rows=rows, per_device_train_batch_size=3)


def crash_in_c(_folder: Path) -> None:
    code = "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)"
    subprocess.run([sys.executable, "-c", code], check=False)


def sampling_of_nothing(_folder: Path) -> None:
    import torch

    torch.multinomial(torch.tensor([float("nan"), 1.0]), 1)


def ranks_that_do_not_meet(folder: Path) -> None:
    worlds.two_ranks(folder, "import datetime, time\nif rank == 1: time.sleep(8); os._exit(0)\ndist.barrier()")


CASES: dict[str, tuple[str, Provocation]] = {
    "array_too_large": ("host_memory", array_too_large),
    "reward_on_messages": ("dataset_method_mismatch", reward_on_messages),
    "dpo_on_pairs": ("dataset_method_mismatch", dpo_on_pairs),
    "dpo_of_mixed_shapes": ("dataset_method_mismatch", dpo_of_mixed_shapes),
    "trainer_on_strange_columns": ("dataset_method_mismatch", trainer_on_strange_columns),
    "rejected_of_none": ("dataset_rows_broken", rejected_of_none),
    "truncated_parquet": ("dataset_rows_broken", truncated_parquet),
    "rows_of_latin_1": ("dataset_rows_broken", rows_of_latin_1),
    "completions_too_long_for_dpo": ("sequence_too_long", completions_too_long_for_dpo),
    "template_without_assistant_marks": ("chat_template_missing", template_without_assistant_marks),
    "model_of_custom_code": ("architecture_unsupported", model_of_custom_code),
    "folder_without_config": ("model_not_found", folder_without_config),
    "absent_revision": ("model_not_found", absent_revision),
    "hub_overloaded": ("hub_unreachable", hub_overloaded),
    "gated_without_token": ("gated_model", gated_without_token),
    "gptq_without_library": ("quantisation_unsupported", gptq_without_library),
    "name_unknown_for_pip": ("dns_failure", name_unknown_for_pip),
    "name_unknown_for_gateway": ("dns_failure", name_unknown_for_gateway),
    "no_tls_on_the_other_side": ("tls_failure", no_tls_on_the_other_side),
    "disk_full_for_safetensors": ("disk_full", disk_full_for_safetensors),
    "pip_without_lock_hash": ("package_hash", pip_without_lock_hash),
    "only_wheels_for_another_python": ("python_version", only_wheels_for_another_python),
    "deepspeed_missing": ("module_missing", deepspeed_missing),
    "garbage_pickle": ("checkpoint_damaged", garbage_pickle),
    "adapter_of_another_rank": ("checkpoint_mismatch", adapter_of_another_rank),
    "no_gpu_to_pick": ("cuda_mismatch", no_gpu_to_pick),
    "grpo_batch_not_divisible": ("configuration_refused", grpo_batch_not_divisible),
    "crash_in_c": ("trainer_bug", crash_in_c),
    "sampling_of_nothing": ("loss_not_finite", sampling_of_nothing),
    "ranks_that_do_not_meet": ("device_communication", ranks_that_do_not_meet),
}
