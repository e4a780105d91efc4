"""CLIP similarity is the cosine of open_clip's own embeddings."""

import json

import pytest
import torch
from torch.nn.functional import cosine_similarity

from cola_world.metrics.clip_similarity import clip_similarity
from cola_world.models.torchvision_import import import_with_torchvision

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """open_clip, and an architecture that it knows by the name `tiny`."""
    package = import_with_torchvision("open_clip")
    path = tmp_path_factory.mktemp("configs") / "tiny.json"
    path.write_text(json.dumps(TINY))
    package.add_model_config(path)
    return package


def test_it_is_the_cosine_of_the_packages_embeddings(tiny):
    torch.manual_seed(0)
    model = tiny.create_model("tiny").eval()
    metric = clip_similarity(model.state_dict(), "0" * 64, model="tiny")
    a, b = torch.rand(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.visual.image_mean, model.visual.image_std))
    with torch.no_grad():
        embeddings = [model.encode_image((frames - mean) / std) for frames in (a, b)]
        assert torch.allclose(metric.compare(a, b), cosine_similarity(*embeddings), atol=1e-6)
        large = torch.nn.functional.interpolate(a, scale_factor=3)
        assert torch.allclose(metric.compare(large, large), torch.ones(4), atol=1e-6)
    assert str(metric.network) == "open_clip tiny 000000000000" and metric.name == "video/clip_similarity"


def test_other_weights_are_refused(tiny):
    with pytest.raises(ValueError, match="^CLIP similarity: the weights are not those of open_clip's tiny") as error:
        clip_similarity({"visual.proj": torch.zeros(2, 2)}, "0" * 64, model="tiny")
    assert "\n" not in str(error.value)
