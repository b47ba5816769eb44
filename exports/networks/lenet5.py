"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, section II-B and figure 2.

layer   what                        output          parameters (fully connected C3)
C1      convolution 6 @ 5×5, tanh   6×28×28         156
S2      average pooling 2×2         6×14×14         0 (12 in the paper)
C3      convolution 16 @ 5×5, tanh  16×10×10        2,416 (1,516 with the paper's table I)
S4      average pooling 2×2         16×5×5          0 (32 in the paper)
C5      convolution 120 @ 5×5, tanh 120×1×1         48,120
F6      fully connected, tanh       84              10,164
OUTPUT  fully connected             10              850 (none trained in the paper: fixed RBF codes)

61,706 in all. The paper counts about 60,000: its subsampling layers have a coefficient and a bias a map (12 + 32), its
C3 looks only at some maps of S2 (table I: 60 connections instead of 96, 900 fewer weights), and its output units
compare F6 with fixed codes. `sparse=True` builds C3 after table I; average pooling and a linear output are the usual
reading.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

# Table I of the paper: the maps of S2 that each map of C3 looks at.
TABLE_I = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class TableConvolution(nn.Conv2d):
    """A convolution whose output maps look only at the input maps a table names; the other weights stay zero.

    table: for every output map the input maps it looks at.
    """

    connected: Tensor

    def __init__(self, inputs: int, table: tuple[tuple[int, ...], ...], kernel: int) -> None:
        super().__init__(inputs, len(table), kernel)
        connected = torch.zeros(len(table), inputs, 1, 1)
        for output, maps in enumerate(table):
            connected[output, list(maps)] = 1
        self.register_buffer("connected", connected, persistent=False)
        with torch.no_grad():
            self.weight *= connected

    def forward(self, x: Tensor) -> Tensor:
        """Convolve. x: (B, inputs, H, W); returns (B, outputs, H − kernel + 1, W − kernel + 1)."""
        return nn.functional.conv2d(x, self.weight * self.connected, self.bias)


def lenet5(classes: int = 10, *, sparse: bool = False) -> nn.Sequential:
    """Build LeNet-5: (B, 1, 32, 32) float32 in, (B, classes) logits out.

    sparse: connect C3 after table I instead of fully.
    The paper scales pixels so that white is −0.1 and black 1.175 (section III-A); the catalogue's input spec does that.
    """
    c3: nn.Module = TableConvolution(6, TABLE_I, 5) if sparse else nn.Conv2d(6, 16, 5)
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(1, 6, 5),
            tanh1=nn.Tanh(),
            s2=nn.AvgPool2d(2),
            c3=c3,
            tanh3=nn.Tanh(),
            s4=nn.AvgPool2d(2),
            c5=nn.Conv2d(16, 120, 5),
            tanh5=nn.Tanh(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, 84),
            tanh6=nn.Tanh(),
            output=nn.Linear(84, classes),
        )
    )
