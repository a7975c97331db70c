"""Causes: the dataset, the tokenizer, the configuration."""

from stoker_metrics.diagnosis.cause import HINT, LIKELY, SURE, Cause
from stoker_shared.job_state import EndReason

DATA: tuple[Cause, ...] = (
    Cause(
        "chat_template_missing",
        "The model's tokenizer has no chat template, but the dataset holds conversations.",
        "Take the instruct version of the model, or a dataset of prompts and completions.",
        patterns={
            r"chat_template is not set": SURE,
            r"Cannot use chat template functions": SURE,
            r"The chat template is not training-compatible": SURE,
            r"at least one example has no assistant tokens": SURE,
            r"does not have a chat template": SURE,
            r"jinja2\.exceptions\.(TemplateError|UndefinedError)": LIKELY,
        },
    ),
    Cause(
        "dataset_method_mismatch",
        "The dataset's columns do not fit the training method.",
        "Choose a method that fits the columns, or a dataset with the columns that the method needs.",
        patterns={
            r"KeyError: ['\"]+(chosen|rejected|prompt|completion|text|messages|label|prompts)['\"]+": LIKELY,
            r"Column '?(chosen|rejected|prompt|completion|text|messages|label)'? doesn't exist": SURE,
            r"Column '?(chosen|rejected|prompt|completion|text|messages|label)'? not in the dataset": SURE,
            r"dataset is not conversational": SURE,
            r"does not (have|contain) (a |the )?['\"`]?(chosen|rejected|prompt|completion|text)['\"`]? column": SURE,
            r"[Nn]o columns in the dataset match the model's forward method": SURE,
            r"(expects|requires|needs) (the )?columns? .*(chosen|rejected|prompt|completion|messages|label)": LIKELY,
            r"can only concatenate (str|list) \(not \"(list|str)\"\) to (str|list)": LIKELY,
            r"DatasetMethodMismatch": SURE,
        },
        reasons={EndReason.DATASET_METHOD_MISMATCH: SURE},
    ),
    Cause(
        "dataset_rows_broken",
        "Rows of the dataset are broken, empty or of mixed types.",
        "Mend the rows that are named and upload the dataset again.",
        patterns={
            r"DatasetUnreadable": LIKELY,
            r"JSON parse error|json\.decoder\.JSONDecodeError|pyarrow\.lib\.ArrowInvalid": LIKELY,
            r"DatasetGenerationError|DatasetGenerationCastError": LIKELY,
            r"An error occurred while generating the dataset": LIKELY,
            r"'(NoneType|int|float)' object has no attribute '(endswith|startswith|strip|split)'": LIKELY,
            r"UnicodeDecodeError: 'utf-?8' codec": LIKELY,
            r"is not a whole (Parquet|Arrow) file": SURE,
            r"trl/data_utils\.py.*line \d+": 0.3,
            r"^IndexError: list index out of range": 0.45,
            r"^StopIteration": HINT,
            r"the dataset's SHA-256 is": LIKELY,
        },
        reasons={EndReason.DATASET_UNREADABLE: SURE, EndReason.DATASET_CHECKSUM_MISMATCH: LIKELY},
        follows=frozenset({"chat_template_missing", "sequence_too_long", "disk_full", "gateway_unreachable"}),
    ),
    Cause(
        "pad_token_missing",
        "The model's tokenizer has no padding token.",
        "Take a model whose tokenizer has one, or set it in the model's folder.",
        patterns={
            r"does not have a padding token": SURE,
            r"pad_token.*(is None|must be set|not (set|defined))": LIKELY,
        },
    ),
    Cause(
        "sequence_too_long",
        "Rows are longer than the model, or than the plan's length, allows.",
        "Lower max_length to what the model can take, or raise it if all rows were cut away.",
        patterns={
            r"IndexError: index out of range in self": LIKELY,
            r"num_samples should be a positive integer value, but got num_samples=0": LIKELY,
            r"indexSelect(Large|Small)Index.*Assertion `?srcIndex < srcSelectDimSize": LIKELY,
            r"exceeds the (model's )?max(imum)?[ _](position|sequence|context|model)": SURE,
            r"no row (is left|fits)|all rows are (too long|longer)": LIKELY,
        },
        changes=("shorter_length",),
    ),
    Cause(
        "configuration_refused",
        "The training settings do not fit together.",
        "Change the setting that the message names, then plan again.",
        patterns={
            r"InvalidConfig": SURE,
            r"Extra inputs are not permitted": LIKELY,
            r"batch size must be > 1": SURE,
            r"must be (evenly )?divisible by": LIKELY,
            r"Target modules? .* not found in the base model": SURE,
            r"TypeError: .*__init__\(\) got an unexpected keyword argument": LIKELY,
            r"Applying a PEFT adapter to `lm_head` is not supported": SURE,
            r"\d+ validation errors? for \w*(Config|Arguments)": LIKELY,
        },
        reasons={EndReason.PLAN_REFUSED: LIKELY},
        follows=frozenset({"dataset_method_mismatch"}),
    ),
)
