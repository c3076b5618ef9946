"""The model as a user of another framework would write it: timm's forward pass with prompt tokens, and a linear head.

Tokens are not cached, and the last block computes every token. Only the prompt and the head are trained and sent.
"""

import copy
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.frameworks.job import Job

TEST_BATCH = 128

Model = TypeVar("Model", bound="PromptedViT")


class PromptedViT(nn.Module):
    """A frozen timm ViT with prompt tokens [p, D] after cls at layer 1, and a linear head."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, vit: VisionTransformer, mean: tuple[float, ...], std: tuple[float, ...], state: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.vit = vit.requires_grad_(False).eval()
        self.prompt = nn.Parameter(state["prompt"].clone())
        self.head = nn.Linear(state["head.weight"].shape[1], state["head.weight"].shape[0])
        self.receive(state)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps uint8 images [B, S, S, 3] to logits [B, C]."""
        vit, pixels = self.vit, images.permute(0, 3, 1, 2).float()
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed((pixels - self.mean) / self.std)))
        x = torch.cat([x[:, :1], self.prompt.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        return self.head(vit.norm(vit.blocks(x))[:, 0])

    def train(self, mode: bool = True) -> "PromptedViT":
        """Sets the mode of all but the frozen backbone, whose batch statistics must not change."""
        super().train(mode)
        self.vit.eval()
        return self

    def trained(self) -> dict[str, Tensor]:
        """Returns the trained tensors, with the names of a job's initial tensors."""
        return {name: value.detach() for name, value in self.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def receive(self, state: dict[str, Tensor]) -> None:
        """Copies values into the trained tensors."""
        for name, value in self.named_parameters():
            if value.requires_grad:
                value.copy_(state[name])


def load(job: Job, kind: type[Model]) -> Model:
    """Returns the job's model with its initial tensors, as an instance of `kind`."""
    vit = backbone.load(job.backbone, job.classes, job.checkpoint, job.image_size)
    return kind(vit.model, tuple(vit.mean), tuple(vit.std), load_file(job.initial))


def with_same_backbone(model: PromptedViT) -> PromptedViT:
    """Returns a model with its own prompt and head, and the frozen backbone of `model`."""
    return copy.deepcopy(model, {id(model.vit): model.vit})


def client_data(job: Job, client: int) -> TensorDataset:
    """Returns the training images and labels of a client."""
    rows = job.train[client]
    return TensorDataset(torch.from_numpy(job.array("train_x")[rows]), torch.from_numpy(job.array("train_y")[rows]))


def sgd(parameters: Iterable[nn.Parameter], job: Job) -> torch.optim.SGD:
    """Returns the local optimiser of the trained parameters."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=job.lr, momentum=job.momentum, weight_decay=job.weight_decay)


def fit(model: PromptedViT, batches: Iterable[tuple[Tensor, Tensor]], job: Job) -> float:
    """Trains for the job's local epochs; returns the mean loss over steps."""
    optimiser, losses = sgd(model.parameters(), job), []
    for _ in range(job.epochs):
        for images, labels in batches:
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return float(np.mean(losses))


@torch.no_grad()
def accuracy(model: PromptedViT, job: Job) -> float:
    """Returns the mean over clients of the accuracy on their own test images."""
    images, labels = job.array("test_x"), job.array("test_y")
    correct = np.zeros(len(labels), dtype=bool)
    for start in range(0, len(labels), TEST_BATCH):
        rows = slice(start, start + TEST_BATCH)
        predicted = model(torch.from_numpy(np.array(images[rows]))).argmax(1)
        correct[rows] = predicted.numpy() == labels[rows]
    return float(np.mean([correct[rows].mean() for rows in job.test if rows]))
