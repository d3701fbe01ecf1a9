"""Residual networks: torchvision's names and shapes, counts, twins, costs, what they see.

The layout below is written from He et al. (2016), table 1, and torchvision's documented names, not
from our code.
"""

import math

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from xor2gpt.vision import resnet
from xor2gpt.vision.weights import from_transformers, load_matched

DEPTHS = {  # blocks of each stage, convolutions of a block
    "resnet18": ((2, 2, 2, 2), "basic"),
    "resnet34": ((3, 4, 6, 3), "basic"),
    "resnet50": ((3, 4, 6, 3), "bottleneck"),
    "resnet101": ((3, 4, 23, 3), "bottleneck"),
}
PUBLISHED = {  # torchvision's documented numbers of parameters, 1,000 classes
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
}


def norm_shapes(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{n}": (channels,) for n in names} | {f"{prefix}.num_batches_tracked": ()}


def published_layout(name: str, classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """Names and shapes in torchvision's checkpoint of this network."""
    blocks, kind = DEPTHS[name]
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    before = 64
    for stage, (depth, inner) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        outer = inner if kind == "basic" else 4 * inner
        for block in range(depth):
            at = f"layer{stage}.{block}"
            kernels = [(inner, before, 3), (inner, inner, 3)]
            if kind == "bottleneck":
                kernels = [(inner, before, 1), (inner, inner, 3), (outer, inner, 1)]
            for index, (out, into, k) in enumerate(kernels, start=1):
                shapes[f"{at}.conv{index}.weight"] = (out, into, k, k)
                shapes |= norm_shapes(f"{at}.bn{index}", out)
            if block == 0 and before != outer:
                shapes[f"{at}.downsample.0.weight"] = (outer, before, 1, 1)
                shapes |= norm_shapes(f"{at}.downsample.1", outer)
            before = outer
    return shapes | {"fc.weight": (classes, before), "fc.bias": (classes,)}


def build(name: str, **options) -> resnet.ResNet:
    """The network without the cost of drawing its weights."""
    with torch.device("meta"):
        return getattr(resnet, name)(**options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- names, shapes, counts ------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEPTHS)
def test_names_and_shapes_are_torchvisions(name):
    ours = {key: tuple(value.shape) for key, value in build(name).state_dict().items()}
    assert ours == published_layout(name)


@pytest.mark.parametrize("name", DEPTHS)
def test_published_parameter_counts(name):
    assert resnet.count_parameters(build(name)) == PUBLISHED[name]


def test_a_checkpoint_of_real_names_and_shapes_loads_whole():
    draw = generator()
    state = {
        key: torch.full(shape, 7) if key.endswith("tracked") else torch.rand(shape, generator=draw)
        for key, shape in published_layout("resnet18").items()
    }
    model = resnet.resnet18()
    report = load_matched(model, state)
    assert report.share == report.share_used == 1.0
    assert len(report.loaded) == len(state) == 122
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet18", {"num_classes": 10}, 11_181_642),
        ("resnet18", {"num_classes": 10, "in_channels": 1}, 11_175_370),
        ("resnet18", {"num_classes": 10, "stem": "32"}, 11_173_962),
        ("resnet18", {"num_classes": 10, "stem": "28", "in_channels": 1}, 11_172_810),
        ("resnet50", {"num_classes": 200}, 23_917_832),
        ("small_resnet", {}, 175_258),
        ("small_resnet", {"blocks": (2, 2, 2, 2)}, 701_466),
        ("small_resnet", {"width": 8, "blocks": (1, 1, 1), "in_channels": 1}, 19_810),
    ],
)
def test_parameter_counts(name, options, count):
    assert resnet.count_parameters(build(name, **options)) == count


def test_the_small_family_has_the_closed_form_count():
    def count(width, depth, classes):
        def norm(c):
            return 2 * c

        total, before = 27 * width + norm(width), width
        for stage in range(3):
            c = width * 2**stage
            for block in range(depth):
                into = before if block == 0 else c
                total += 9 * into * c + norm(c) + 9 * c * c + norm(c)
                if into != c:
                    total += into * c + norm(c)
            before = c
        return total + before * classes + classes

    for width, depth in ((4, 1), (16, 2), (10, 3)):
        with torch.device("meta"):
            model = resnet.small_resnet(width, (depth,) * 3, num_classes=7)
        assert resnet.count_parameters(model) == count(width, depth, 7)


def test_count_of_what_learns():
    model = resnet.small_resnet(4, (1, 1))
    model.conv1.requires_grad_(False)
    everything = resnet.count_parameters(model)
    assert resnet.count_parameters(model, trainable=True) == everything - 3 * 4 * 9


# --- map sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "side", "sizes"),
    [
        ("28", 28, (28, 28, 14, 7, 4)),
        ("32", 32, (32, 32, 16, 8, 4)),
        ("64", 64, (32, 32, 16, 8, 4)),
        ("224", 224, (112, 56, 28, 14, 7)),
        ("224", 32, (16, 8, 4, 2, 1)),  # the source's mistake: 1 × 1 before the head
        ("224", 28, (14, 7, 4, 2, 1)),
    ],
)
def test_map_sizes(stem, side, sizes):
    model = build("resnet18", stem=stem, num_classes=10).eval()
    names = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    maps = resnet.activations(model, torch.empty(1, 3, side, side, device="meta"), names)
    assert tuple(maps[name].shape[-1] for name in names) == sizes


def test_weights_move_between_the_stems_for_32_and_64():
    small, large = (resnet.small_resnet(4, (1, 1), stem=stem) for stem in ("32", "64"))
    assert load_matched(large, small.state_dict()).share == 1.0


# --- what it computes -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_logits_equal_transformers(kind):
    outer = (8, 16, 32, 64) if kind == "basic" else (32, 64, 128, 256)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=outer, depths=(2, 1, 2, 1), layer_type=kind, num_labels=5
    )
    torch.manual_seed(0)
    twin = ResNetForImageClassification(config).eval()
    for module in twin.modules():  # norms that do something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    block = resnet.BasicBlock if kind == "basic" else resnet.Bottleneck
    model = resnet.ResNet(block, config.depths, width=8, num_classes=5).eval()
    report = load_matched(model, twin.state_dict(), rename=from_transformers)
    assert report.share == report.share_used == 1.0
    images = torch.randn(3, 3, 65, 70, generator=generator())
    with torch.no_grad():
        assert torch.allclose(model(images), twin(images).logits, atol=1e-4, rtol=1e-4)
        maps = twin.resnet(images).last_hidden_state
        assert torch.allclose(model.features(images), maps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("stride", "channels"), [(1, 4), (2, 4), (1, 6), (2, 6)])
def test_a_basic_block_by_torchs_functions(stride, channels):
    block = resnet.BasicBlock(4, channels, stride).eval()
    x = torch.randn(2, 4, 7, 7, generator=generator())
    f = nn.functional

    def norm(x, bn):
        return f.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    out = norm(f.conv2d(x, block.conv1.weight, stride=stride, padding=1), block.bn1).relu()
    out = norm(f.conv2d(out, block.conv2.weight, padding=1), block.bn2)
    shortcut = x
    if (stride, channels) != (1, 4):
        projection, bn = block.downsample
        shortcut = norm(f.conv2d(x, projection.weight, stride=stride), bn)
    else:
        assert block.downsample is None
    assert torch.allclose(block(x), (out + shortcut).relu(), atol=1e-5)


def test_the_bottleneck_strides_in_its_3x3_convolution():
    block = resnet.Bottleneck(8, 4, stride=2)
    strides = [block.conv1.stride, block.conv2.stride, block.conv3.stride]
    assert strides == [(1, 1), (2, 2), (1, 1)]
    assert block(torch.zeros(1, 8, 6, 6)).shape == (1, 16, 3, 3)


def test_a_block_with_zero_last_norm_is_its_shortcut():
    options = {"zero_init_residual": True, "generator": generator()}
    for block in (resnet.BasicBlock, resnet.Bottleneck):
        model = resnet.ResNet(block, (2, 1), stem="32", width=4, num_classes=3, **options)
        plain = model.layer1[1]
        x = torch.rand(2, 4 * block.expansion, 5, 5)  # not negative: the last relu changes nothing
        assert torch.equal(plain(x), x)
        assert float(model.layer1[0].bn1.weight.detach().min()) == 1.0


def test_gradients_reach_every_parameter():
    model = resnet.small_resnet(4, (1, 1, 1))
    model(torch.randn(4, 3, 8, 8, generator=generator())).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_channels_last_gives_the_same():
    model = resnet.small_resnet(8, generator=generator()).eval()
    x = torch.randn(2, 3, 16, 16, generator=generator())
    plain = model(x)
    fast = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert torch.allclose(plain, fast, atol=1e-5)


# --- initialisation -------------------------------------------------------------------------------


def test_he_initialisation():
    model = resnet.small_resnet(32, generator=generator())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            ratio = float(module.weight.detach().std()) / math.sqrt(2 / fan_out)
            few = 4 / math.sqrt(2 * module.weight.numel())  # four standard errors
            assert abs(ratio - 1) < few
        elif isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all()) and bool((module.bias == 0).all())
    bound = 1 / math.sqrt(model.fc.in_features)
    assert float(model.fc.weight.detach().abs().max()) <= bound
    assert float(model.fc.weight.detach().abs().max()) > 0.95 * bound


def test_a_generator_decides_all_weights():
    one, two, other = (
        resnet.small_resnet(4, generator=generator(s)).state_dict() for s in (1, 1, 2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


def test_a_new_head():
    model = resnet.small_resnet(4, (1, 1))
    head = resnet.replace_head(model, 3, generator=generator())
    assert model.fc is head and model(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    again = resnet.replace_head(model, 3, generator=generator())
    assert torch.equal(head.weight, again.weight)
    with pytest.raises(ValueError, match="num_classes=0"):
        resnet.replace_head(model, 0)


# --- costs ----------------------------------------------------------------------------------------


def closed_form_resnet18(side: int, classes: int) -> int:
    """Multiply-adds of ResNet-18: k²·in·out·side² of each convolution, then the head."""
    half = side // 2
    total = 49 * 3 * 64 * half**2
    s, before = half // 2, 64
    for stage, c in enumerate((64, 128, 256, 512)):
        s = s if stage == 0 else s // 2
        total += 9 * before * c * s**2 + 3 * 9 * c * c * s**2
        total += 0 if stage == 0 else before * c * s**2
        before = c
    return total + 512 * classes


@pytest.mark.parametrize(("side", "classes"), [(224, 1000), (32, 10), (96, 7)])
def test_multiply_adds_of_resnet18(side, classes):
    model = build("resnet18", num_classes=classes)
    assert resnet.multiply_adds(model, (3, side, side)) == closed_form_resnet18(side, classes)


def test_multiply_adds_as_published():
    # He et al., table 1, give 1.8, 3.6 and 7.6 · 10⁹ for 18, 34 and 101 layers, 3.8 for 50 layers;
    # v1.5's stride in the 3×3 convolutions makes the last two larger: 4.09 and 7.80
    found = {name: resnet.multiply_adds(build(name), (3, 224, 224)) / 1e9 for name in DEPTHS}
    assert found["resnet18"] == pytest.approx(1.814, abs=5e-4)
    assert found["resnet34"] == pytest.approx(3.664, abs=5e-4)
    assert found["resnet50"] == pytest.approx(4.089, abs=5e-4)
    assert found["resnet101"] == pytest.approx(7.801, abs=5e-4)


def test_costs_of_grouped_and_strided_convolutions_and_linear_layers():
    model = nn.Sequential(
        nn.Conv2d(4, 6, (3, 1), stride=2, groups=2), nn.Flatten(), nn.Linear(6 * 3 * 4, 5)
    )
    rows = resnet.layer_costs(model, (4, 7, 7))
    assert [(row.name, row.output) for row in rows] == [("0", (6, 3, 4)), ("2", (5,))]
    assert [row.parameters for row in rows] == [6 * 2 * 3 + 6, 72 * 5 + 5]
    assert [row.multiply_adds for row in rows] == [6 * 3 * 4 * (2 * 3), 72 * 5]
    assert [row.kind for row in rows] == ["conv 3×1/2", "linear"]


def test_costing_leaves_the_model_alone():
    model = resnet.small_resnet(4, (1, 1)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    resnet.layer_costs(model, (3, 8, 8))
    assert model.training and all(m.training for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


# --- what it sees ---------------------------------------------------------------------------------


def test_activations_are_the_layers_outputs_and_not_changed_later():
    model = resnet.small_resnet(4, (1, 1), generator=generator()).eval()
    x = torch.randn(2, 3, 8, 8, generator=generator())
    kept = resnet.activations(model, x, ["bn1", "layer1", "layer2"])
    with torch.no_grad():
        bn1 = model.bn1(model.conv1(x))
        layer1 = model.layer1(bn1.relu())
        assert torch.equal(kept["layer2"], model.layer2(layer1.clone()))
        assert float(kept["bn1"].min()) < 0, "the relu after it works in place"
        assert torch.allclose(kept["bn1"], model.bn1(model.conv1(x)))
        assert torch.equal(kept["layer1"], layer1)
    with pytest.raises(ValueError, match="no \\['layer9'\\]"):
        resnet.activations(model, x, ["layer9"])
    assert not any(m._forward_hooks for m in model.modules())


def test_activations_names_layers_that_do_not_run():
    model = resnet.small_resnet(4, (1, 1))
    model.spare = nn.Identity()
    with pytest.raises(ValueError, match="does not run \\['spare'\\]"):
        resnet.activations(model, torch.zeros(1, 3, 8, 8), ["spare"])


def test_the_mean_of_a_class_activation_map_is_the_logit():
    model = resnet.small_resnet(4, num_classes=6, generator=generator()).eval()
    x = torch.randn(3, 3, 16, 16, generator=generator())
    with torch.no_grad():
        logits = model(x)
    maps, classes = resnet.class_activation_maps(model, x)
    assert maps.shape == (3, 4, 4) and torch.equal(classes, logits.argmax(1))
    asked = torch.tensor([5, 0, 2])
    maps, _ = resnet.class_activation_maps(model, x, asked)
    expected = logits[torch.arange(3), asked] - model.fc.bias.detach()[asked]
    assert torch.allclose(maps.mean(dim=(1, 2)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="one each"):
        resnet.class_activation_maps(model, x, torch.tensor([1]))


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "imagenet"}, "unknown stem 'imagenet': use one of 28, 32, 64, 224"),
        ({"blocks": ()}, "at least one block"),
        ({"blocks": (2, 0)}, r"blocks=\(2, 0\)"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        resnet.small_resnet(**{"width": 4, "blocks": (1,), **options})


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8)])
def test_wrong_pictures_are_named(shape):
    with pytest.raises(ValueError, match=r"takes \(B, 3, H, W\)"):
        resnet.small_resnet(4, (1,))(torch.zeros(shape))


def test_an_own_stem():
    model = resnet.small_resnet(4, (1,), stem=resnet.Stem(kernel=5, stride=2, pool=True))
    assert model.conv1.weight.shape == (4, 3, 5, 5)
    assert model.features(torch.zeros(1, 3, 32, 32)).shape == (1, 4, 8, 8)
