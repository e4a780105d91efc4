"""The stages of the pipeline, one thin module each. Run them from the root of the repository: `python -m
stages.<name>`.
"""

import os
from pathlib import Path

# A queued experiment runs in a copy below .dvc/tmp/exps and need not train again what this workspace has trained.
_QUEUE = (".dvc", "tmp", "exps")
_here = Path.cwd()
for _folder in _here.parents:
    if _here.relative_to(_folder).parts[:3] == _QUEUE:
        os.environ.setdefault("COLA_SCRATCH", str(_folder / ".cola"))
