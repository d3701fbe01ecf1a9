"""Parameter groups: what decays, what learns how fast, and every parameter exactly once."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from training_kit import net, trainer

from xor2gpt import training as tr


class Tied(nn.Module):
    """An embedding whose table is also the head's weight, a norm and a positional table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.places = nn.Parameter(torch.zeros(3, 4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight


def names(model: nn.Module, groups: list[dict]) -> dict[str, list[str]]:
    known = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: [known[id(p)] for p in group["params"]] for group in groups}


def test_norms_and_biases_do_not_decay() -> None:
    model = net()
    groups = tr.parameter_groups(model, 0.1)
    assert names(model, groups) == {
        "decay": ["conv.weight", "head.weight"],
        "no_decay": ["conv.bias", "norm.weight", "norm.bias", "head.bias"],
    }
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all("lr" not in group for group in groups)


def test_embeddings_and_named_parameters_may_be_spared() -> None:
    model = Tied()
    assert names(model, tr.parameter_groups(model, 0.1)) == {
        "decay": ["places", "table.weight"],
        "no_decay": ["norm.weight", "norm.bias"],
    }
    spared = tr.parameter_groups(model, 0.1, decay_embeddings=False, no_decay=["places"])
    assert list(names(model, spared)) == ["no_decay"]


def test_rates_by_the_longest_prefix() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    groups = tr.parameter_groups(model, lr=0.2, rates={"1": 0.5, "1.0": 0.1})
    rates = {name: g["lr"] for g in groups for name in names(model, [g])[g["name"]]}
    assert rates == pytest.approx(
        {"0.weight": 0.2, "0.bias": 0.2, "1.0.weight": 0.02, "1.0.bias": 0.02}
        | {"1.1.weight": 0.1, "1.1.bias": 0.1}
    )
    tr.check_parameter_groups(model, groups)


def test_a_prefix_ends_at_a_dot() -> None:
    model = nn.ModuleDict({"layer1": nn.Linear(1, 1), "layer10": nn.Linear(1, 1)})
    groups = names(model, tr.parameter_groups(model, lr=1.0, rates={"layer1": 0.1}))
    assert groups["layer1/decay"] == ["layer1.weight"]
    assert groups["decay"] == ["layer10.weight"]


def test_frozen_parameters_are_left_out() -> None:
    model = net()
    model.conv.requires_grad_(False)
    groups = tr.parameter_groups(model, 0.1)
    assert "conv.weight" not in sum(names(model, groups).values(), [])
    tr.check_parameter_groups(model, groups)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rates": {"conv": 0.1}}, "give lr="),
        (
            {"rates": {"layer4": 0.1}, "lr": 1.0},
            "prefix 'layer4' matches no parameter.*conv.weight",
        ),
        ({"rates": {"conv": 0.0}, "lr": 1.0}, "freeze with requires_grad_"),
        ({"no_decay": ["con"]}, "prefix 'con' matches no parameter"),
    ],
)
def test_errors_name_the_prefix(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tr.parameter_groups(net(), 0.1, **settings)


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="everything is frozen"):
        tr.parameter_groups(net().requires_grad_(False))


def test_missing_doubled_and_strange_parameters_are_named() -> None:
    model = net()
    weights = list(model.parameters())
    with pytest.raises(ValueError, match="'head.bias' is trainable but in no group"):
        tr.check_parameter_groups(model, [{"params": weights[:-1]}])
    doubled = [{"params": weights}, {"params": [model.norm.weight], "name": "extra"}]
    with pytest.raises(ValueError, match="'norm.weight' is in group 0 and again in extra"):
        tr.check_parameter_groups(model, doubled)
    with pytest.raises(ValueError, match=r"a parameter of shape \(3, 1, 3, 3\) that is not in"):
        tr.check_parameter_groups(model, [{"params": list(net().parameters())}])


def test_the_trainer_checks_its_optimizers() -> None:
    with pytest.raises(ValueError, match="'conv.weight' is trainable but in no group"):
        trainer(optimizer=lambda model: torch.optim.SGD(model.head.parameters(), lr=0.1))
