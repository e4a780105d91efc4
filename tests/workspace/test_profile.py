"""A wrong profile is refused in one line; a VAE of any kind goes with the actions and clips that meet its latents."""

import json
from pathlib import Path

import pytest
from dials import edit, resolved

from cola_world.training.vae import VAEPlan
from cola_world.workspace.profile import load


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.learning_rate", "1e-4", "training.learning_rate: '1e-4' is text, not a number; YAML wants a dot, as in 1.0e-4"),
        ("clips.crop", 99, "clips.crop: 99 is larger than the frame; at most 36 is possible"),
        ("system.idm.image_size", 64, "system.idm.image_size: 64 exceeds clips.crop; at most 32 is possible"),
        ("system.flow.shft", 2.0, "system.flow.shft: unknown key (value 2.0); nearest is 'shift'"),
    ],
)
def test_wrong_profile(workspace, key, value, message):
    edit(workspace, key, value, "stages/profiles/cpu.yaml")
    with pytest.raises(ValueError) as error:
        load(workspace)
    assert f"cpu.yaml: {message}" in str(error.value).splitlines()


SMALL = {"kind": "small", "model": {"channels": [8], "groups": 4}, "steps": 4, "batch_size": 4, "learning_rate": 1.0e-3}
PUBLIC = {"path": "data/weights/vae"}
GROUPED = {"vae": {"kind": "opensora"} | PUBLIC, "actions": 4, "num_frames": 17}


def set_vae(workspace: Path, vae: dict, actions: int, num_frames: int) -> None:
    edit(workspace, "scale", "gpu")
    file = "stages/profiles/gpu.yaml"
    edit(workspace, "vae", vae, file)
    edit(workspace, "system.action_adaln.actions_per_latent_frame", actions, file)
    edit(workspace, "clips.num_frames", num_frames, file)


@pytest.mark.parametrize(
    "dials",
    [
        {"vae": SMALL, "actions": 1, "num_frames": 8},
        {"vae": {"kind": "sdxl"} | PUBLIC, "actions": 1, "num_frames": 8},
        GROUPED,
        GROUPED | {"num_frames": 5},
    ],
)
def test_a_vae_of_any_kind_resolves_to_what_its_stage_reads(workspace, dials):
    set_vae(workspace, **dials)
    files = resolved(workspace)
    made = VAEPlan.model_validate_json(json.dumps(files["vae"]))
    assert made.vae.kind == dials["vae"]["kind"] and made.crop == files["latents"]["crop"]
    assert files["latents"]["num_frames"] == files["e2e"]["clips"]["num_frames"] == dials["num_frames"]


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"vae": {"kind": "sdlx"} | PUBLIC}, "vae.kind: 'sdlx' is not one of 'small', 'sdxl' or 'opensora'"),
        ({"vae": {"kind": "opensora"}}, "vae.path: missing; the kind 'opensora' has no default for it"),
        ({"vae": {"kind": "sdxl", "steps": 5} | PUBLIC}, "vae.steps: 5 has no effect on the kind 'sdxl'; leave it out"),
        ({"vae": SMALL | PUBLIC, "actions": 1}, "vae.path: 'data/weights/vae' has no effect on the kind 'small'; leave it out"),
        ({"vae": SMALL | {"model": {"chanels": [8]}}}, "vae.model.chanels: unknown key (value [8]); nearest is 'channels'"),
        (
            {"actions": 1},
            "system.action_adaln.actions_per_latent_frame: 1 does not go with the VAE 'opensora'; the right one is 4",
        ),
        (
            {"vae": SMALL},
            "system.action_adaln.actions_per_latent_frame: 4 does not go with the VAE 'small'; the right one is 1",
        ),
        ({"num_frames": 8}, "clips.num_frames: 8 is no clip of one frame and then 4 a latent, up to 17; nearest right one is 9"),
        ({"num_frames": 21}, "clips.num_frames: 21 is no clip of one frame and then 4 a latent, up to 17; nearest right one is 17"),
    ],
)
def test_wrong_vae(workspace, dials, message):
    set_vae(workspace, **(GROUPED | dials))
    with pytest.raises(ValueError) as error:
        load(workspace)
    assert f"gpu.yaml: {message}" in str(error.value).splitlines()
