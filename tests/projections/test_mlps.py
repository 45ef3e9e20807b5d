"""Where gate and up are: checked against what the MLP computes, in both orders; and what is refused."""

import pytest
import torch
from torch import nn

import decoders
from posttrain.projections import gated

GATED = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "olmo2", "phi3", "glm")


def mlp_of(model, projection):
    return model.get_submodule(projection.module.rpartition(".")[0])


@pytest.mark.parametrize("name", GATED)
def test_the_mlp_is_down_of_act_of_gate_times_up(name):
    model = decoders.build(name, scale=5)
    found = gated(model)
    assert [(each.layer, each.part) for each in found] == [(0, "gate"), (0, "up"), (1, "gate"), (1, "up")]
    for gate, up in zip(found[::2], found[1::2], strict=True):
        mlp = mlp_of(model, gate)
        act = getattr(mlp, "act_fn", None) or mlp.activation_fn
        x = torch.randn(1, 3, 32)
        by_hand = mlp.down_proj(act(x @ gate.weight(model).T) * (x @ up.weight(model).T))
        torch.testing.assert_close(by_hand, mlp(x), rtol=1e-5, atol=1e-6)


class UpFirst(nn.Module):
    """A fused MLP with the halves the other way round."""

    def __init__(self, mlp):
        super().__init__()
        self.gate_up_proj, self.down_proj, self.act = mlp.gate_up_proj, mlp.down_proj, mlp.activation_fn

    def forward(self, x):
        up, gate = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(up * self.act(gate))


class Sum(UpFirst):
    """Halves that are no gate and up."""

    def forward(self, x):
        first, second = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(first + second)


def replaced(kind):
    model = decoders.build("phi3")
    for layer in model.model.layers:
        layer.mlp = kind(layer.mlp)
    return model


def test_the_order_of_the_halves_is_read_from_the_forward_pass():
    assert gated(decoders.build("phi3"))[0].rows[0] == 0
    assert [int(each.rows[0]) for each in gated(replaced(UpFirst))[:2]] == [48, 0]


def test_halves_that_are_no_gate_are_refused():
    with pytest.raises(ValueError, match=r"Layer 0 \(model\.layers\.0\.mlp\).*no gate and up"):
        gated(replaced(Sum))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "falcon new", "bloom", "mpt", "phi", "opt"])
def test_an_mlp_without_a_gate_is_refused(name):
    with pytest.raises(ValueError, match=r"Layer 0 .*has no gated MLP.*its linear modules are"):
        gated(decoders.build(name))


@pytest.mark.parametrize("name", ["mixtral", "dbrx", "deepseek_v3"])
def test_a_mixture_of_experts_is_refused(name):
    with pytest.raises(ValueError, match=r"Layer \d .*is a mixture of experts"):
        gated(decoders.build(name))


def test_the_dense_layers_of_a_mixture_of_experts_can_be_chosen():
    assert [each.part for each in gated(decoders.build("deepseek_v3"), layers=[0])] == ["gate", "up"]
