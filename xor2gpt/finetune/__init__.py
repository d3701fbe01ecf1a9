"""Fine-tuning a GPT: for classes (spam or not) and for instructions.

Does: `classifier` (a GPT body with a new head, freezing, files), `collate` (batches of unequal
texts, for classes and for instructions), `prompts` (templates and what to cut out of an answer),
`sampling` (balance, class weights, splits that keep groups together). Everything is importable
from here.
Does not: train (`xor2gpt.training`), generate (`xor2gpt.generation`) or score
(`xor2gpt.evaluate`); adapt weights by low-rank matrices (LoRA) or from preferences.

    model = ClassifierGPT(gpt, ["ham", "spam"], generator=generator)
    names = freeze(model, train="last-block")
    ids, lengths, _, labels = collate_classification(sequences, labels, pad_id=50256)
    logits = model(ids, lengths)                                   # (B, K)

Masks are boolean, True = a real token, as everywhere in the course.
"""

from xor2gpt.finetune.classifier import (
    ClassifierGPT,
    Saved,
    class_loss,
    freeze,
    load_finetuned,
    predict,
    save_finetuned,
)
from xor2gpt.finetune.collate import (
    ClassificationBatch,
    CollatedBatches,
    InstructionBatch,
    collate_classification,
    collate_instructions,
)
from xor2gpt.finetune.prompts import (
    ALPACA,
    CHAT,
    TEMPLATES,
    Template,
    encode_example,
    extract_response,
    response_start,
)
from xor2gpt.finetune.sampling import (
    class_weights,
    group_ids,
    group_split,
    split_sizes,
    undersample,
)

__all__ = [
    "ALPACA",
    "CHAT",
    "TEMPLATES",
    "ClassificationBatch",
    "ClassifierGPT",
    "CollatedBatches",
    "InstructionBatch",
    "Saved",
    "Template",
    "class_loss",
    "class_weights",
    "collate_classification",
    "collate_instructions",
    "encode_example",
    "extract_response",
    "freeze",
    "group_ids",
    "group_split",
    "load_finetuned",
    "predict",
    "response_start",
    "save_finetuned",
    "split_sizes",
    "undersample",
]
