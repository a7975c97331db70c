"""`python -m stoker_trainer.convert_gguf MODEL.gguf OUT_DIR`: a GGUF file as a float32 safetensors folder.

Reading a GGUF takes half a minute each time; the folder loads in a fraction of a second.
"""

import shutil
import sys
from pathlib import Path

from stoker_trainer.building import hide_progress, quieten_libraries
from stoker_trainer.config import ModelConfig
from stoker_trainer.errors import InvalidConfig, TrainerError
from stoker_trainer.files import sync_folder
from stoker_trainer.model import find_model, load_model, load_tokenizer


def convert(gguf: Path, output: Path) -> Path:
    """Write model and tokenizer into `output`, which appears only when it is whole.

    A folder that is there already is left as it is. Raises ModelNotFound, InvalidConfig.
    """
    if (output / "config.json").exists():
        return output
    if output.exists():
        raise InvalidConfig(f"{output} exists and is no model folder; name another one or remove it")
    source = find_model(str(gguf.absolute()))
    quieten_libraries(is_offline=True)
    hide_progress()
    partial = output.with_name(f".{output.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    load_model(source, ModelConfig(name_or_path=source.name), dtype_name="float32").save_pretrained(partial)
    load_tokenizer(source, None).save_pretrained(partial)
    partial.rename(output)
    sync_folder(output.parent)
    return output


def main(arguments: list[str]) -> int:
    """Convert and say where the result is."""
    if len(arguments) != 2:
        print("usage: python -m stoker_trainer.convert_gguf MODEL.gguf OUT_DIR", file=sys.stderr)  # noqa: T201
        return InvalidConfig.exit_code
    try:
        print(convert(Path(arguments[0]), Path(arguments[1])))  # noqa: T201
    except TrainerError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
