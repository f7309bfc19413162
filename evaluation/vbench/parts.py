"""What one scoring job leaves: the rows of its clips. Apart from the reducer, so that editing that one scores
nothing again.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """What one job scored. names: its clips under the package's names, in order; rows: the package's own,
    video_path the bare name.

    score: what the package printed for this part alone, None if it could count no clip. versions: what
    computed it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    suite: str
    row: str
    dimension: str
    part: str
    names: tuple[str, ...]
    score: float | None
    rows: tuple[dict[str, Any], ...]
    versions: dict[str, str]
