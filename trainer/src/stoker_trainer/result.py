"""What a run leaves: the model measured before and after, its answers, the numbers, the folder."""

from pathlib import Path
from typing import Any

from stoker_trainer.config import TrainingConfig
from stoker_trainer.dataset import Prepared
from stoker_trainer.hardware import Hardware
from stoker_trainer.report import Report


def measure(trainer: Any, *, report: Report, name: str) -> float | None:
    """Held-out loss now, also sent as eval_loss."""
    from stoker_trainer.evaluation import held_out_loss

    loss = held_out_loss(trainer)
    if loss is not None:
        report.log(f"held-out loss {name}: {loss:.4f}")
        report.metrics(step=trainer.state.global_step, values={"eval_loss": loss})
    return loss


def sample(trainer: Any, *, config: TrainingConfig, is_chat: bool) -> list[str]:
    """The model's answers to the sample prompts, as it is now."""
    from stoker_trainer.evaluation import answer_prompts

    return answer_prompts(
        trainer.model,
        trainer.processing_class,
        config.sample_prompts,
        is_chat=is_chat,
        max_new_tokens=config.sample_max_new_tokens,
    )


def sample_pairs(
    trainer: Any, *, config: TrainingConfig, is_chat: bool, base_answers: list[str] | None
) -> list[dict[str, str]]:
    """Each sample prompt with the base model's and the tuned model's answer."""
    from stoker_trainer.evaluation import base_model

    if base_answers is None:
        with base_model(trainer.model):
            base_answers = sample(trainer, config=config, is_chat=is_chat)
    tuned_answers = sample(trainer, config=config, is_chat=is_chat)
    triples = zip(config.sample_prompts, base_answers, tuned_answers, strict=True)
    return [{"prompt": prompt, "base": base, "tuned": tuned} for prompt, base, tuned in triples]


def summarise(
    trainer: Any, *, before: float | None, after: float | None, data: Prepared, seconds: float
) -> dict[str, Any]:
    """The content of metrics.json. Losses in nats per token; the runtime is this process's training time."""
    from stoker_trainer.evaluation import perplexity

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = trainer.state.num_input_tokens_seen
    fresh_tokens = tokens - trainer._initial_num_input_tokens_seen  # noqa: SLF001 - no public name for it
    return {
        "held_out": {
            "rows": len(data.held_out) if data.held_out is not None else 0,
            "loss_before": before,
            "loss_after": after,
            "perplexity_before": perplexity(before),
            "perplexity_after": perplexity(after),
        },
        "train": {
            "rows": len(data.train),
            "steps": trainer.state.global_step,
            "tokens": tokens,
            "loss_first": losses[0] if losses else None,
            "loss_last": losses[-1] if losses else None,
            "tokens_per_second": fresh_tokens / seconds if seconds > 0 else None,
            "runtime_seconds": seconds,
        },
    }


def write_output(
    trainer: Any,
    *,
    config: TrainingConfig,
    output: Path,
    data: Prepared,
    hardware: Hardware,
    results: tuple[dict[str, Any], list[dict[str, str]]],
) -> None:
    """Write model, metrics, samples and receipt beside the old result, then swap."""
    from stoker_trainer.receipt import write_receipt
    from stoker_trainer.save import publish, save_facts, save_model

    metrics, samples = results
    partial = output.with_name(f"{output.name}.partial")
    save_model(trainer, partial, base_name=config.model.name_or_path)
    save_facts(partial, metrics=metrics, samples=samples)
    write_receipt(
        partial,
        config=config,
        dataset_sha256=data.sha256,
        model_config=trainer.model.config,
        hardware=hardware,
        metrics=metrics,
    )
    publish(partial, output)
