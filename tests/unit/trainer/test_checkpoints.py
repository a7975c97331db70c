"""Only a checkpoint that is whole and of this very run is resumed from."""

from pathlib import Path

from stoker_trainer.checkpoints import NEEDED, last_whole_checkpoint, seal_checkpoint


def checkpoint(folder: Path, step: int, *, fingerprint: str = "run") -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    for name in (*NEEDED, "adapter_model.safetensors"):
        (path / name).write_bytes(b"x" * 100)
    seal_checkpoint(path, fingerprint=fingerprint)
    return path


def test_the_newest_whole_one_is_found_by_number_not_by_name(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    assert last_whole_checkpoint(tmp_path, fingerprint="run") == newest


def test_cut_unsealed_and_foreign_ones_are_passed_over(tmp_path: Path) -> None:
    good = checkpoint(tmp_path, 1)
    cut = checkpoint(tmp_path, 2)
    (cut / "optimizer.pt").write_bytes(b"x" * 50)
    (checkpoint(tmp_path, 3) / "stoker_seal.json").unlink()
    checkpoint(tmp_path, 4, fingerprint="another run")
    (tmp_path / "checkpoint-tmp").mkdir()
    assert last_whole_checkpoint(tmp_path, fingerprint="run") == good


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path / "none", fingerprint="run") is None
