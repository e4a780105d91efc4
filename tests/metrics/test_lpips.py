"""LPIPS is the package's, as it is when it finds the trunks' files where it would have put its downloads."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from public_files import row, sha256
from safetensors.torch import save_file

from cola_world.metrics.public_networks import open_metric, open_metrics
from cola_world.models.torchvision_import import import_torchvision, import_with_torchvision
from cola_world.weights.public import WeightsError, read_table

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
SIZES = {"alex": 35, "vgg": 32}


def random_state(trunk: str) -> dict[str, torch.Tensor]:
    """The names and shapes of torchvision's, the layers that LPIPS does without being one number stretched."""
    models = import_torchvision().models
    with torch.device("meta"):
        model = models.alexnet() if trunk == "alex" else models.vgg16()
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.05 * torch.randn(tensor.shape, generator=generator) if name.startswith("features") else torch.zeros(1).expand(tensor.shape)
        for name, tensor in model.state_dict().items()
    }


@pytest.fixture(scope="module", params=["alex", "vgg"])
def trunk(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "hub" / "checkpoints" / FILES[request.param]
    path.parent.mkdir(parents=True)
    torch.save(random_state(request.param), path)
    return request.param, path


def test_it_equals_the_package(trunk, monkeypatch):
    name, path = trunk
    file = row(path=str(path), format="state_dict", sha256=sha256(path))
    metric = open_metric(f"lpips_{name}", file, path.parent)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(path.parents[1]))
    package = import_with_torchvision("lpips").LPIPS(net=name, verbose=False)
    a, b = torch.rand(2, 5, 3, SIZES[name], SIZES[name] + 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = package(2 * a - 1, 2 * b - 1).flatten()
        assert expected.std() > 0
        assert torch.allclose(metric.compare(a, b), expected, rtol=1e-5, atol=1e-7)
        assert metric.compare(a, a).abs().max() == 0
    assert metric.network.sha256 == sha256(path)


def test_another_networks_file_is_refused(trunk):
    name, path = trunk
    other = "vgg" if name == "alex" else "alex"
    message = rf"^LPIPS \({other}\): features\.\d+\.weight is missing or of another shape; is it {other}'s file"
    with pytest.raises(ValueError, match=message):
        open_metric(f"lpips_{other}", row(path=str(path), format="state_dict"), path.parent)


def test_the_trunk_is_read_from_safetensors_too(tmp_path):
    state = {name: tensor for name, tensor in random_state("alex").items() if name.startswith("features")}
    save_file(state, tmp_path / "alex.safetensors")
    metric = open_metric("lpips_alex", row(path=str(tmp_path / "alex.safetensors"), format="state_dict"), tmp_path)
    assert (metric.name, metric.title, metric.smallest) == ("video/lpips_alex", "LPIPS-alex", 31)
    frame = torch.rand(1, 3, metric.smallest, metric.smallest, generator=torch.Generator().manual_seed(0))
    assert metric.compare(frame, 1 - frame).isfinite().all()


def test_only_rows_of_metrics_are_opened_and_nothing_is_downloaded(tmp_path):
    table = read_table(ROOT / "data" / "weights.yaml")
    assert open_metrics({"sdxl_vae": table["sdxl_vae"]}, tmp_path) == []
    with pytest.raises(WeightsError, match=r"lpips_vgg: vgg16-397923af.pth: expected a path, for no hub has it, found none; bring it"):
        open_metrics({"lpips_vgg": table["lpips_vgg"]}, tmp_path)


@pytest.mark.slow
def test_the_autoencoder_neither_needs_torchvision_nor_keeps_others_from_it():
    code = """if True:
        import sys
        from cola_world.models.autoencoder import VAEConfig, build_autoencoder
        from cola_world.models.torchvision_import import import_with_torchvision
        build_autoencoder(VAEConfig(channels=[8, 8]))
        assert "torchvision" not in sys.modules
        import_with_torchvision("lpips")
        assert sys.modules["torchvision"]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
