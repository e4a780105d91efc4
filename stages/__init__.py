"""The steps of the paper, one folder each. Every entry runs from the repository's root: `python -m stages.<name>`."""

import os
from pathlib import Path

# A queued experiment runs in a copy below .dvc/tmp/exps; what this workspace has trained already it need not train again.
_QUEUE = (".dvc", "tmp", "exps")
_here = Path.cwd()
for _folder in _here.parents:
    if _here.relative_to(_folder).parts[:3] == _QUEUE:
        os.environ.setdefault("COLA_SCRATCH", str(_folder / ".cola"))
