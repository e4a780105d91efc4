"""Our forms of the models against the straightforward forms of the public design, as ratios.

`public`: every frame modulated twice and one result picked, explicit softmax, guidance in two forwards, the whole clip at
every step (`public_form`). `plain`: our model with explicit softmax; or our sampler that keeps nothing (`plain`).
Run: python -m benchmarks.models (about ten minutes on two cores); writes benchmarks/models.md.
"""

import functools
import platform
from pathlib import Path

import torch

from benchmarks.measuring import compare, peak_mb
from benchmarks.plain import plain, sample_without_cache
from benchmarks.public_form import PublicSTDiT3, public_sample
from cola_world.models.action_adaln import ActionAdaLN, ActionAdaLNConfig
from cola_world.models.fdm import FDM, FDMConfig
from cola_world.models.flow import FlowConfig
from cola_world.models.idm import IDM, IDMConfig
from cola_world.models.stdit3 import STDiT3, STDiT3Config
from cola_world.models.world_model import WorldModel
