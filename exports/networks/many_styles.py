"""One transformation network for several styles: Dumoulin, Shlens, Kudlur, "A learned representation for artistic
style", ICLR 2017 (arXiv:1610.07629).

All styles share the convolutions; each has its own scale and shift in every instance normalisation (section 2.2), and
here its own last convolution too, which mixes the colours. Every style is a whole `TransformerNet` that holds the
shared layers, so one style's state dict is a plain network's, and nothing has to be converted to ship it.
"""

from __future__ import annotations

from torch import Tensor, nn

from exports.networks.transformer_net import TransformerNet


class ManyStyles(nn.Module):
    """Transformation networks, one a style, with the same convolutions.

    styles: their names, at least one; channels, blocks: as TransformerNet takes them.
    """

    def __init__(self, styles: tuple[str, ...], channels: int = 32, blocks: int = 5) -> None:
        super().__init__()
        self.of = nn.ModuleDict({style: TransformerNet(channels, blocks) for style in styles})
        first = self.of[styles[0]]
        for style in styles[1:]:
            _share_convolutions(first, self.of[style])

    def forward(self, pictures: Tensor, style: str) -> Tensor:
        """Repaint pictures, (B, 3, H, W) as TransformerNet takes them, in one style; returns the same shape."""
        out: Tensor = self.of[style](pictures)
        return out

    def baked(self, style: str) -> dict[str, Tensor]:
        """The weights of one style, as the state dict of a plain TransformerNet of the same size."""
        return {name: tensor.detach().clone().contiguous() for name, tensor in self.of[style].state_dict().items()}


def _share_convolutions(first: nn.Module, other: nn.Module) -> None:
    """Let `other` hold the convolutions of `first`, all but the last."""
    modules = dict(first.named_modules())
    names = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
    for name in names[:-1]:
        parent, _, child = name.rpartition(".")
        setattr(other.get_submodule(parent), child, modules[name])
