"""Foreign weights: reading files, matching names, refusing to load too little, freezing."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xor2gpt.vision import resnet
from xor2gpt.vision import weights as we


def network(seed: int = 0, **options) -> resnet.ResNet:
    options = {"width": 4, "blocks": (1, 1), "num_classes": 5, **options}
    return resnet.small_resnet(generator=torch.Generator().manual_seed(seed), **options)


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def copied(model: nn.Module) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


# --- loading --------------------------------------------------------------------------------------


def test_everything_loads_and_the_report_says_so():
    source, model = network(1), network(2)
    report = we.load_matched(model, source.state_dict())
    assert equal(model.state_dict(), source.state_dict())
    assert report.share == report.share_used == 1.0
    assert len(report.loaded) == len(source.state_dict()) and not report.renamed
    assert str(report).startswith(f"{len(report.loaded)} loaded, 0 renamed, 0 missing")
    assert "100.00 % of the model filled" in str(report)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model."])
def test_wrappers_prefixes_are_removed(prefix):
    source, model = network(1), network(2)
    state = {prefix + name: value for name, value in source.state_dict().items()}
    report = we.load_matched(model, state)
    assert equal(model.state_dict(), source.state_dict())
    assert report.prefix == prefix and len(report.renamed) == len(state)
    assert f"prefix {prefix!r} removed" in report.summary()


def test_a_prefix_that_the_model_has_itself_stays():
    source, model = (nn.ModuleDict({"model": nn.Linear(2, 3)}) for _ in range(2))
    assert we.load_matched(model, source.state_dict()).prefix == ""
    assert equal(model.state_dict(), source.state_dict())


@pytest.mark.parametrize(
    "rename",
    [
        {"head": "fc", "stem": "conv1", "stage.one": "layer1"},
        [(r"^head\.", "fc."), (r"^stem\.", "conv1."), (r"^stage\.one", "layer1")],
        lambda name: (
            name.replace("head.", "fc.").replace("stem.", "conv1.").replace("stage.one", "layer1")
        ),
    ],
)
def test_renaming_by_dict_patterns_and_function(rename):
    source, model = network(1), network(2)
    foreign = {
        name.replace("fc.", "head.", 1).replace("layer1", "stage.one")
        if not name.startswith("conv1.")
        else "stem.weight": value
        for name, value in source.state_dict().items()
    }
    report = we.load_matched(model, foreign, rename=rename)
    assert equal(model.state_dict(), source.state_dict())
    pairs = {match.foreign: match.own for match in report.renamed}
    assert pairs["stem.weight"] == "conv1.weight" and pairs["head.bias"] == "fc.bias"
    assert "layer2.0.conv1.weight" not in pairs


def test_a_dict_renames_whole_parts_of_names_and_the_longest_first():
    model = nn.ModuleDict({name: nn.Linear(1, 1) for name in ("head", "header", "side")})
    values = {"top": 1.0, "topper": 2.0, "top.left": 3.0}
    state = {f"{at}.weight": torch.full((1, 1), value) for at, value in values.items()}
    state |= {f"{at}.bias": torch.full((1,), value) for at, value in values.items()}
    we.load_matched(model, state, rename={"top": "head", "topper": "header", "top.left": "side"})
    found = {name: float(layer.weight.detach()) for name, layer in model.items()}
    assert found == {"head": 1.0, "header": 2.0, "side": 3.0}


def test_a_function_drops_tensors_by_none():
    source, model = network(1), network(2)
    state = {**source.state_dict(), "ema.decay": torch.tensor(0.9)}
    report = we.load_matched(model, state, rename=lambda n: None if n.startswith("ema") else n)
    assert report.share == 1.0 and not report.unexpected


def test_another_head_must_be_said_and_stays_as_it_was():
    source, model = network(1, num_classes=9), network(2)
    before = copied(model)
    with pytest.raises(
        we.WeightsMismatch, match=r"mismatched: here fc.weight 5×8, there fc.w"
    ) as e:
        we.load_matched(model, source.state_dict())
    assert equal(model.state_dict(), before), "nothing is loaded when it raises"
    assert [m.own for m in e.value.report.mismatched] == ["fc.weight", "fc.bias"]
    report = we.load_matched(model, source.state_dict(), skip=("fc.*",))
    after, given = model.state_dict(), source.state_dict()
    assert report.share == 1.0 and [m.own for m in report.skipped] == ["fc.weight", "fc.bias"]
    assert torch.equal(after["fc.weight"], before["fc.weight"])
    assert torch.equal(after["layer2.0.conv2.weight"], given["layer2.0.conv2.weight"])


def test_names_that_do_not_match_at_all_raise_even_at_minimum_0():
    model = network()
    state = {f"encoder.{i}": value for i, value in enumerate(model.state_dict().values())}
    with pytest.raises(we.WeightsMismatch, match="give rename=.*nothing was loaded"):
        we.load_matched(model, state, minimum=0.0)
    assert model.load_state_dict(state, strict=False), "torch is content: why this module exists"


def test_a_deeper_network_does_not_fit_although_every_tensor_here_is_filled():
    deep, model = network(1, blocks=(2, 2)), network(2)
    report = we.match_weights(model, deep.state_dict())
    assert report.share == 1.0 and report.share_used < 0.7
    with pytest.raises(we.WeightsMismatch, match="unexpected: here – –, there layer1.1"):
        we.load_matched(model, deep.state_dict())
    we.load_matched(model, deep.state_dict(), minimum=0.4)


def test_a_missing_shortcut_projection_is_noticed():
    source, model = network(1), network(2)
    state = {name: v for name, v in source.state_dict().items() if "downsample" not in name}
    with pytest.raises(
        we.WeightsMismatch, match="missing: here layer2.0.downsample.0.weight 8×4×1×1"
    ):
        we.load_matched(model, state)


def test_shares_by_hand():
    model = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 2)})  # 6 + 2, 4 + 2
    state = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(3), "c": torch.ones(7)}
    report = we.match_weights(model, state)
    statuses = {m.own or m.foreign: m.status for m in report.matches}
    assert statuses == {
        "a.weight": "loaded",
        "a.bias": "mismatched",
        "b.weight": "missing",
        "b.bias": "missing",
        "c": "unexpected",
    }
    assert report.share == pytest.approx(6 / 14)
    with pytest.raises(we.WeightsMismatch):
        we.load_matched(model, state, minimum=0.43)
    assert we.load_matched(model, state, minimum=0.35).share_used == pytest.approx(6 / (6 + 2 + 7))


def test_batch_norms_counters_are_not_demanded_but_their_statistics_are():
    source, model = network(1), network(2)
    state = source.state_dict()
    old = {name: v for name, v in state.items() if not name.endswith("num_batches_tracked")}
    assert we.load_matched(model, old).share == 1.0
    bare = {name: v for name, v in old.items() if "running" not in name}
    with pytest.raises(we.WeightsMismatch, match="missing: here bn1.running_mean"):
        we.load_matched(model, bare)
    counters = {name: v for name, v in state.items() if name.endswith("num_batches_tracked")}
    with pytest.raises(we.WeightsMismatch):
        we.load_matched(model, counters, minimum=0.0)


def test_half_precision_is_converted():
    source, model = network(1), network(2)
    half = {
        name: v.half() if v.is_floating_point() else v for name, v in source.state_dict().items()
    }
    we.load_matched(model, half)
    assert model.conv1.weight.dtype == torch.float32
    assert torch.equal(model.conv1.weight, half["conv1.weight"].float())


def test_the_table_lists_what_did_not_simply_load():
    source, model = network(1, num_classes=9), network(2)
    report = we.match_weights(model, {**source.state_dict(), "extra": torch.zeros(())})
    rows = [line.split() for line in report.table().splitlines()]
    assert rows[0][:3] == ["status", "here", "there"]
    assert rows[2] == ["mismatched", "fc.weight", "fc.weight", "5×8", "9×8"]
    assert rows[4] == ["unexpected", "–", "extra", "–", "scalar"]
    assert len(rows) == 5
    assert len(report.table(everything=True).splitlines()) == 2 + len(report.matches)


def test_matching_changes_nothing():
    source, model = network(1), network(2)
    before = copied(model)
    we.match_weights(model, source.state_dict())
    assert equal(model.state_dict(), before)


def test_errors_name_the_tensor():
    model = network()
    state = copied(model)
    with pytest.raises(
        ValueError, match="both 'fc.bias' and 'fc2.bias' would be loaded as 'fc.bias'"
    ):
        we.match_weights(model, {**state, "fc2.bias": state["fc.bias"]}, rename={"fc2": "fc"})
    with pytest.raises(TypeError, match="'epoch' is int"):
        we.match_weights(model, {**state, "epoch": 3})
    state["bn1.bias"][0] = float("nan")
    with pytest.raises(ValueError, match="'bn1.bias' holds NaN"):
        we.load_matched(model, state)
    with pytest.raises(ValueError, match="minimum=90"):
        we.load_matched(model, state, minimum=90)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet.embedder.embedder.convolution.weight", "conv1.weight"),
        ("resnet.embedder.embedder.normalization.running_var", "bn1.running_var"),
        ("resnet.encoder.stages.0.layers.1.layer.0.convolution.weight", "layer1.1.conv1.weight"),
        ("resnet.encoder.stages.3.layers.2.layer.2.normalization.bias", "layer4.2.bn3.bias"),
        ("encoder.stages.1.layers.0.shortcut.convolution.weight", "layer2.0.downsample.0.weight"),
        ("encoder.stages.1.layers.0.shortcut.normalization.bias", "layer2.0.downsample.1.bias"),
        ("classifier.1.weight", "fc.weight"),
        ("something.else", "something.else"),
    ],
)
def test_names_of_transformers(theirs, ours):
    assert we.from_transformers(theirs) == ours


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pth", "safetensors", "state_dict", "model"])
def test_files_come_back_equal(tmp_path, form):
    state = network().state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if form == "pth" else {"epoch": 3, form: state}, path)
    assert equal(we.read_weights(path), dict(state))


class Sneaky:
    """A pickle that would run code."""

    def __reduce__(self):
        return (open, ("owned", "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(2), "x": Sneaky()}, "bad.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Sneaky()))
    for name in ("bad.pth", "raw.pth"):
        with pytest.raises(ValueError, match=f"{name} holds Python objects"):
            we.read_weights(name)
    assert not (tmp_path / "owned").exists()


def test_broken_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        we.read_weights(tmp_path / "none.pth")
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html>log in</html>")
    with pytest.raises(ValueError, match="page.pth is a web page"):
        we.read_weights(page)
    whole = tmp_path / "whole.pth"
    torch.save(network().state_dict(), whole)
    save_file(network().state_dict(), tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:-300])
        with pytest.raises(ValueError, match="is not a whole checkpoint"):
            we.read_weights(cut)
    torch.save([1, 2], whole)
    with pytest.raises(ValueError, match="no tensors by name but list"):
        we.read_weights(whole)


# --- freezing -------------------------------------------------------------------------------------


def step(model: nn.Module) -> None:
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)
    x = 3 + torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model(x).logsumexp(1).mean().backward()
    optimizer.step()


def test_a_frozen_part_does_not_move_at_all():
    model = network()
    for name in ("conv1", "bn1", "layer1"):
        we.freeze(model.get_submodule(name))
    before = copied(model)
    step(model)
    moved = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved and all(name.startswith(("layer2", "fc")) for name in moved)
    assert {"layer2.0.bn1.running_mean", "fc.weight"} <= moved


def test_without_norms_the_running_statistics_drift():
    model = network()
    we.freeze(model, norms=False)
    resnet.replace_head(model, 3)
    before = copied(model)
    step(model)
    after = model.state_dict()
    assert torch.equal(after["bn1.weight"], before["bn1.weight"])
    assert not torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])


def test_freezing_names_what_stopped_and_unfreezing_undoes_it():
    model = network().train()
    stopped = we.freeze(model)
    assert stopped == [name for name, _ in model.named_parameters()]
    assert we.freeze(model) == []
    twin = copy.deepcopy(model)
    resnet.replace_head(twin, 2)
    mean = twin.bn1.running_mean.clone()
    step(twin)
    assert torch.equal(twin.bn1.running_mean, mean), "a copy stays frozen"
    model.train()
    assert we.unfreeze(model) == stopped
    before = copied(model)
    step(model)
    assert all(
        not torch.equal(value, before[name])
        for name, value in model.state_dict().items()
        if name.endswith(("weight", "running_mean"))
    )
