"""What the transformers share: attention, loading without drawing, running a few windows at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pytest_ecgfm.encoders.vit import CHUNK, Block, FrozenTransformer, attend, load_module
from pytest_ecgfm.errors import EcgfmError


class Small(nn.Module):
    """One block over the samples of each lead, with a table that no checkpoint holds."""

    def __init__(self):
        super().__init__()
        self.block = Block(12, 3, eps=1e-5)
        self.register_buffer("table", torch.arange(5.0, device="cpu"), persistent=False)
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        return self.block(x + self.table[:, None]).mean(dim=1)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_softmax_attention(masked):
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randn(2, 5, 36, generator=generator)
    mask = torch.where(torch.rand(5, 5, generator=generator) + torch.eye(5) > 0.5, 0.0, float("-inf"))
    expected = torch.empty(2, 5, 12)
    for head in range(3):
        q, k, v = (qkv[:, :, start + 4 * head : start + 4 * head + 4] for start in (0, 12, 24))
        scores = q @ k.transpose(1, 2) / 2
        expected[:, :, 4 * head : 4 * head + 4] = (scores + mask if masked else scores).softmax(-1) @ v
    torch.testing.assert_close(attend(qkv, 3, mask if masked else None), expected, rtol=0, atol=1e-6)


def test_biases_are_there_only_where_asked_for():
    assert not [
        key for key in Block(12, 3, eps=1e-6, qkv_bias=False, bias=False, norm_bias=False).state_dict() if "bias" in key
    ]
    assert "attn.qkv.bias" not in Block(12, 3, eps=1e-6, qkv_bias=False).state_dict()
    assert len(Block(12, 3, eps=1e-6).state_dict()) == 12


def test_loading_draws_nothing_and_keeps_tables():
    state = Small().state_dict()
    before = torch.random.get_rng_state()
    module = load_module(Small, state, path=Path("small.pt"))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert torch.equal(module.table, torch.arange(5.0))


def test_loading_accounts_for_every_key():
    state = Small().state_dict()
    state["head.weight"] = torch.zeros(2)
    with pytest.raises(EcgfmError, match=r"small\.pt.*1 unexpected \(head\.weight\)"):
        load_module(Small, state, path=Path("small.pt"))
    assert load_module(Small, state, path=Path("small.pt"), heads=["head.*"]).table.sum() == 10


@pytest.mark.parametrize("windows", [0, 1, CHUNK, 2 * CHUNK + 1])
def test_windows_go_a_few_at_a_time(rng, windows):
    module = Small()
    x = rng.normal(0, 1, (windows, 5, 12)).astype(np.float32)
    found = FrozenTransformer(module).forward(x)
    assert max(module.seen) <= CHUNK
    assert sum(module.seen) == windows
    with torch.inference_mode():
        np.testing.assert_allclose(found, module(torch.from_numpy(x)), rtol=0, atol=1e-6)
