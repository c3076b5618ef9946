import numpy as np
import torch
from safetensors.torch import load_file

from fedprompt.benchmark.backbone import loading as backbone
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.model import PromptedViT, fit, load, with_same_backbone
from fedprompt.methods.components.prompts import insert_after_cls


def test_logits_equal_those_of_our_prompted_forward_pass(job_file):
    job = Job.read(job_file)
    state, vit = load_file(job.initial), backbone.load(job.backbone, job.classes, job.checkpoint, job.image_size)
    images = torch.from_numpy(np.array(job.array("test_x")[:5]))
    pixels = images.permute(0, 3, 1, 2) / 255
    pixels = (pixels - torch.tensor(vit.mean).view(3, 1, 1)) / torch.tensor(vit.std).view(3, 1, 1)
    tokens = insert_after_cls(vit.tokens_of(pixels), state["prompt"].expand(5, -1, -1))
    expected = vit.encode(tokens) @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(load(job, PromptedViT)(images), expected, rtol=1e-4, atol=1e-4)


def test_training_changes_only_prompt_and_head(job_file):
    job = Job.read(job_file)
    model = load(job, PromptedViT).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = (torch.from_numpy(np.array(job.array(name)[:4])) for name in ("train_x", "train_y"))
    fit(model, [(images, labels)], job)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"prompt", "head.weight", "head.bias"} == model.trained().keys()


def test_models_with_the_same_backbone_have_their_own_prompt_and_head(job_file):
    first = load(Job.read(job_file), PromptedViT)
    second = with_same_backbone(first)
    assert second.vit is first.vit
    expected = {name: value.clone() for name, value in first.trained().items()}
    second.receive({name: torch.zeros_like(value) for name, value in expected.items()})
    assert all(torch.equal(value, expected[name]) for name, value in first.trained().items())
    assert not any(value.any() for value in second.trained().values())
