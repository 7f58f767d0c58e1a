# SPDX-License-Identifier: Apache-2.0
"""The eight models of the training benchmark, each written once for `torch` and `penlight` alike."""

from __future__ import annotations

from typing import Any

# He et al. 2015, CIFAR variant: (channels in, channels out, stride) of each block
RESNET20 = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
# Sandler et al. 2018, width 0.5: (expansion, channels, blocks, stride of the first)
MOBILENET_V2 = [(1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1)]

# name -> (shape of the input, number of classes); inputs of the token models are class numbers, with one target for each
SHAPES = {
    "tiny_mlp": ((32, 64), 64),
    "mlp": ((128, 784), 10),
    "mnist_cnn": ((128, 1, 28, 28), 10),
    "resnet20": ((64, 3, 32, 32), 10),
    "mobilenet_v2_half": ((32, 3, 96, 96), 100),
    "char_gpt": ((16, 128), 65),
    "bert_mini": ((16, 128), 8192),
    "lstm": ((32, 64, 128), 10),
}
TOKEN_MODELS = ("char_gpt", "bert_mini")


def build(framework: Any, name: str) -> Any:
    """Returns a new model of `framework`, the imported `torch` or `penlight`."""
    return _CONSTRUCTORS[name](framework)


def batch(framework: Any, name: str) -> tuple[Any, Any]:
    """Returns a random batch of inputs and targets."""
    shape, classes = SHAPES[name]
    if name in TOKEN_MODELS:
        return framework.randint(0, classes, shape), framework.randint(0, classes, shape)
    return framework.randn(shape), framework.randint(0, classes, shape[:1])


def _tiny_mlp(framework: Any) -> Any:
    nn = framework.nn
    hidden = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(64, 64))


def _mlp(framework: Any) -> Any:
    nn = framework.nn
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def _mnist_cnn(framework: Any) -> Any:
    nn = framework.nn
    features = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    features += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))


def _resnet20(framework: Any) -> Any:
    nn, relu = framework.nn, framework.nn.functional.relu

    class BasicBlock(nn.Module):
        def __init__(self, c_in: int, c_out: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)
            self.conv2, self.bn2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)
            self.skip = nn.Identity()
            if stride != 1 or c_in != c_out:
                self.skip = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

        def forward(self, x: Any) -> Any:
            return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.skip(x))

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *(BasicBlock(*block) for block in RESNET20), *head)


def _mobilenet_v2_half(framework: Any) -> Any:
    nn = framework.nn

    class InvertedResidual(nn.Module):
        def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
            super().__init__()
            mid, layers = c_in * expansion, []
            if expansion != 1:
                layers += [nn.Conv2d(c_in, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU6()]
            layers += [nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False), nn.BatchNorm2d(mid), nn.ReLU6()]
            layers += [nn.Conv2d(mid, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
            self.body, self.residual = nn.Sequential(*layers), stride == 1 and c_in == c_out

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.residual else self.body(x)

    c_in, layers = 16, [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for expansion, channels, blocks, stride in MOBILENET_V2:
        for i in range(blocks):
            layers.append(InvertedResidual(c_in, channels, stride if i == 0 else 1, expansion))
            c_in = channels
    layers += [nn.Conv2d(160, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 100))


def _transformer(framework: Any, vocabulary: int, dim: int, heads: int, depth: int, length: int, causal: bool) -> Any:
    nn, attention = framework.nn, framework.nn.functional.scaled_dot_product_attention

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
            self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

        def forward(self, x: Any) -> Any:
            b, t, d = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + self.out(attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(b, t, d))
            return x + self.mlp(self.norm2(x))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tok, self.pos = nn.Embedding(vocabulary, dim), nn.Embedding(length, dim)
            self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
            self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocabulary)

        def forward(self, ids: Any) -> Any:
            x = self.tok(ids) + self.pos(framework.arange(ids.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    return Transformer()


def _char_gpt(framework: Any) -> Any:
    return _transformer(framework, 65, 256, 4, 4, 128, True)


def _bert_mini(framework: Any) -> Any:
    """A masked language model over every position."""
    return _transformer(framework, 8192, 256, 4, 4, 128, False)


def _lstm(framework: Any) -> Any:
    nn = framework.nn

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(128, 256, 1, batch_first=True), nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0][:, -1])

    return Lstm()


_CONSTRUCTORS = {
    "tiny_mlp": _tiny_mlp,
    "mlp": _mlp,
    "mnist_cnn": _mnist_cnn,
    "resnet20": _resnet20,
    "mobilenet_v2_half": _mobilenet_v2_half,
    "char_gpt": _char_gpt,
    "bert_mini": _bert_mini,
    "lstm": _lstm,
}
