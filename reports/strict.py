"""The base of every record that the report reads or writes."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """An immutable record. Unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
