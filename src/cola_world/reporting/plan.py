"""What reports are told of the workspace: the file runs/plan/report.json."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

PLAN = Path("runs/plan/report.json")


class ReportPlan(BaseModel):
    """`data`: share of each corpus in the training clips. Steps are the paper's, `steps_per_paper_step` optimiser
    steps each.
    """

    model_config = ConfigDict(frozen=True)
    scale: str
    seeds: list[int]
    warmup_steps: int
    warmup_sweep: list[int]
    steps_per_paper_step: float
    data: dict[str, float]
    notes: list[str] = []


def read_plan(root: Path) -> ReportPlan:
    """Read the plan. Raises ValueError that names the file if it is missing or wrong."""
    path = root / PLAN
    if not path.exists():
        raise ValueError(f"{PLAN}: missing; `python -m stages.plan` writes it")
    try:
        return ReportPlan.model_validate_json(path.read_text())
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{PLAN}: {'.'.join(map(str, fault['loc']))}: {fault['msg']} (found {fault['input']!r})") from None
