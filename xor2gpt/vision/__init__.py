"""Vision: residual networks, augmentation, metrics, foreign weights and pictures of them.

Does: hold `resnet` (networks), `augment` (batches of pictures), `metrics` (accuracies, confusion),
`weights` (foreign checkpoints by key mapping) and `plots` (figures of training and of what a
network sees).
Does not: import anything by itself, so that ``import xor2gpt`` stays light: import the module you
need, as ``from xor2gpt.vision import augment``.
"""

__all__ = ["augment", "metrics", "plots", "resnet", "weights"]
