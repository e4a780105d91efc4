"""The public weights that a profile names take the place of the steps that they replace."""

from pathlib import Path

import pytest
from conftest import ROOT
from dials import edit

from cola_world.training.vae import VAEPlan
from cola_world.weights.public import Brought, read_table
from cola_world.workspace import plan
from cola_world.workspace.profile import load, read_profile

PAPER = "stages/profiles/paper.yaml"
TABLE = read_table(ROOT / "data" / "weights.yaml")


def resolved(workspace: Path, scale: str, weights: dict | None = None) -> dict:
    params, profile = load(workspace)[0], read_profile(scale, workspace)
    if weights is not None:
        profile = profile.model_copy(update={"weights": {name: Brought(**own) for name, own in weights.items()}})
    return plan.resolve(params, profile, TABLE)


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_small_scales_name_no_weights(workspace, scale):
    files = resolved(workspace, scale)
    assert files["weights"] == {} and not any(files[name]["public"] for name in ("pretrain", "vae"))


def test_the_papers_scale_takes_its_prior_and_its_vae_from_the_table(workspace):
    files = resolved(workspace, "paper")
    assert set(files["weights"]) == {"stdit3", "sdxl_vae", "i3d"}
    assert files["pretrain"]["public"]["stdit3"]["sha256"] == TABLE["stdit3"].sha256
    assert list(files["vae"]["public"]) == ["sdxl_vae"] and not files["lam"]["public"]


def test_the_own_vae_of_opensora_can_be_named_and_wants_clips_that_fit_it(workspace):
    edit(workspace, "weights", {"stdit3": {}, "opensora_vae": {}}, PAPER)
    with pytest.raises(ValueError, match="actions_per_latent_frame: 1 does not go with the VAE 'opensora'; the right one is 4"):
        read_profile("paper", workspace)
    edit(workspace, "system.action_adaln.actions_per_latent_frame", 4, PAPER)
    edit(workspace, "clips.num_frames", 17, PAPER)
    files = resolved(workspace, "paper")
    made = VAEPlan.model_validate(files["vae"])
    assert list(made.public) == ["opensora_vae"] and made.kind == "opensora"


def test_fvd_is_measured_at_the_papers_scale_and_wants_clips_of_ten_frames(workspace):
    files = resolved(workspace, "paper")
    assert "i3d" in files["evaluate/e2e_long"]["networks"] and files["e2e_long"]["clips"]["num_frames"] >= 10
    edit(workspace, "clips.num_frames", 9, PAPER)
    with pytest.raises(ValueError, match="clips.num_frames: 9 is too short for the FVD of weights.i3d; at least 10, or leave i3d out"):
        read_profile("paper", workspace)


def test_a_wrong_key_beside_a_path_is_told_with_the_nearest(workspace):
    profile = workspace / "stages" / "profiles" / "paper.yaml"
    profile.write_text(profile.read_text().replace("{stdit3: {}", "{stdit3: {pth: model.safetensors}"))
    with pytest.raises(ValueError, match="weights.stdit3.pth: unknown key .* nearest is 'path'"):
        read_profile("paper", workspace)


def test_a_name_that_is_no_row_is_told_with_the_nearest(workspace):
    with pytest.raises(ValueError, match="'stdit' is no row of data/weights.yaml; nearest is 'stdit3'"):
        resolved(workspace, "paper", {"stdit": {}})
    with pytest.raises(ValueError, match="sdxl_vae and pixart_vae both take the place of vae; name one of them"):
        resolved(workspace, "paper", {"sdxl_vae": {}, "pixart_vae": {}})
