"""The embedded backbone: a small timm Vision Transformer for 32x32 images, shipped with its weights.

A convolutional stem turns an image into 4x4 patch tokens (Xiao et al., 2021, "Early convolutions help transformers
see better"). The stem is frozen and runs once per image, so its size costs a federated client almost nothing. The six
narrow blocks, which every client differentiates through, stay cheap.
"""

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
IMAGE_SIZE, STRIDE, DIM, DEPTH, HEADS = 32, 8, 96, 6, 3
STEM = ((32, 2), (64, 1), (64, 2), (128, 1), (192, 2))  # (channels, stride) of the 3x3 layers


class ConvStem(nn.Module):
    """Maps images [B, 3, S, S] to patch tokens [B, (S/8)^2, dim]; replaces timm's `PatchEmbed`."""

    def __init__(self, img_size: int = IMAGE_SIZE, embed_dim: int = DIM, **_: object) -> None:
        super().__init__()
        side = img_size // STRIDE
        self.img_size, self.patch_size = (img_size, img_size), (STRIDE, STRIDE)
        self.grid_size, self.num_patches = (side, side), side * side
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in STEM:
            layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.GELU()]
            channels = width
        self.net = nn.Sequential(*layers, nn.Conv2d(channels, embed_dim, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Returns patch tokens in row-major order."""
        return self.net(images).flatten(2).transpose(1, 2)


def build(image_size: int = IMAGE_SIZE, classes: int = 0) -> VisionTransformer:
    """Returns the architecture with new random weights; `classes=0` omits the head."""
    model = VisionTransformer(
        img_size=image_size,
        patch_size=STRIDE,
        embed_dim=DIM,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=classes,
        embed_layer=ConvStem,
    )
    model.pretrained_cfg = {"mean": MEAN, "std": STD}  # as timm does for its own models
    return model
