"""Loading that VBench does not check: parameters that a checkpoint leaves as they were drawn are an error
here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("vbench_job")


@contextmanager
def complete_loading() -> Iterator[None]:
    """While this lasts, load_state_dict(strict=False) raises ValueError if a parameter of the module is not
    in the checkpoint.

    Missing buffers (index tables that are computed) and names that the module does not have are logged, as
    many as they are.
    """
    from torch import nn

    plain = nn.Module.load_state_dict

    def checked(self: Any, state: Any, strict: bool = True, *arguments: Any, **options: Any) -> Any:
        outcome = plain(self, state, strict, *arguments, **options)
        parameters = {name for name, _ in self.named_parameters()}
        unset = [name for name in outcome.missing_keys if name in parameters]
        log.info(
            "%s: %d parameters, %d missing names, %d unknown names",
            type(self).__name__,
            len(parameters),
            len(outcome.missing_keys),
            len(outcome.unexpected_keys),
        )
        if unset:
            raise ValueError(
                f"the checkpoint leaves {len(unset)} of {len(parameters)} parameters of "
                f"{type(self).__name__} unset (first: {unset[0]}), so it is another file than the "
                "published one; fetch it again"
            )
        return outcome

    nn.Module.load_state_dict = checked  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        nn.Module.load_state_dict = plain  # type: ignore[method-assign]
