"""Recipes: named training runs with fixed hyper-parameters and seeds.

Does: hold the registry (`get`, `names`, `register`) and the recipes themselves, one module each.
Does not: run a recipe on import, or import torch or scikit-learn before a recipe needs them.

To add a recipe, write a module that calls `register`, and import it below.
"""

from xor2gpt.recipes import (
    cifar10_ablation,
    cifar10_cpu,
    grammar_small,
    iris_splits,
    mnist_cpu,
    pretrain_small,
    sft_generated,
    sft_instruction_data,
    shakespeare_char,
    spam_generated,
    spam_sms,
    tiny_imagenet,
    xor_seeds,
)
from xor2gpt.recipes.base import (
    Column,
    Figure,
    Outcome,
    Recipe,
    Table,
    Unit,
    UnitResult,
    UnknownRecipe,
    get,
    names,
    register,
)

__all__ = [
    "Column",
    "Figure",
    "Outcome",
    "Recipe",
    "Table",
    "Unit",
    "UnitResult",
    "UnknownRecipe",
    "cifar10_ablation",
    "cifar10_cpu",
    "get",
    "grammar_small",
    "iris_splits",
    "mnist_cpu",
    "names",
    "pretrain_small",
    "register",
    "sft_generated",
    "sft_instruction_data",
    "shakespeare_char",
    "spam_generated",
    "spam_sms",
    "tiny_imagenet",
    "xor_seeds",
]
