"""A small convolution, honest and broken in one way each, for records of any length: what the contract's tests use."""

import numpy as np
import torch


class Plain(torch.nn.Module):
    """A small honest encoder, from which the broken ones differ in one thing."""

    def __init__(self, leads=12):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.conv = torch.nn.Conv1d(leads, 24, 25, stride=5)
        with torch.no_grad():
            for parameter in self.conv.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x):
        hidden = torch.relu(self.conv(x))
        return torch.cat([hidden.mean(-1), hidden.amax(-1)], dim=1)


class Random(Plain):
    """Draws noise at each call."""

    def forward(self, x):
        out = super().forward(x)
        return out + 0.01 * torch.randn(out.shape)


class BatchCoupled(Plain):
    """Normalises over the batch."""

    def forward(self, x):
        out = super().forward(x)
        return out - out.mean(dim=0, keepdim=True)


class Drifting(Plain):
    """Updates running statistics, although it is in eval mode; its output does not depend on them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


class OneLead(Plain):
    """Declares twelve leads, and reads II."""

    def forward(self, x):
        only = torch.zeros_like(x)
        only[:, 1] = x[:, 1]
        return super().forward(only)


class Fragile(Plain):
    """Divides by the amplitude of each lead: not a number on flat leads, and hides it; raises on long ones."""

    def forward(self, x):
        if bool((x.std(dim=-1) == 0).any()):
            raise ZeroDivisionError("flat lead")
        return super().forward(x)


class HiddenDrift(Drifting):
    """Drifts in a buffer that is not saved."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1), persistent=False)


class NotANumber(Plain):
    """Divides by the amplitude of each lead: not a number on flat leads."""

    def forward(self, x):
        return super().forward(x / x.std(dim=-1, keepdim=True))


class Overwriting(Plain):
    """Scales its input in place, which is its own business."""

    def forward(self, x):
        x *= 0.5
        return super().forward(x)


class ByPosition:
    """Takes records as stored and reads their leads by position."""

    def __init__(self):
        self.module = Plain()

    def embed(self, batch):
        with torch.inference_mode():
            return self.module(torch.from_numpy(np.ascontiguousarray(batch.signals[:, :, :500]))).numpy()
