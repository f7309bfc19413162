"""Provenance: code, prompts, weights, machines, hashes, the last replay, and the files beside the report."""

import json
from typing import Any, NamedTuple

from evaluation.prompts import count_prompts, unrendered_lines
from evaluation.words import numbered
from reports.beside import exports_of
from reports.replay import MEANING, ReplayedRow
from reports.view import View
from reports.words import commit_text


class ReplayLine(NamedTuple):
    """What a replay found of one row."""

    label: str
    found: ReplayedRow
    stale: bool
    """Whether the row's clips were made again since."""


def provenance_section(view: View) -> dict[str, Any]:
    """What provenance.html.j2 shows."""
    run = view.run
    manifests = {row: found["manifest_sha256"] for row, found in run.provenance["clips"].items()}
    replayed = [clip for row in (run.replay.rows if run.replay is not None else ()) for clip in row.clips]
    equal = sum(clip.outcome == "bit-equal" for clip in replayed)
    again = f"{equal} of {numbered(len(replayed), 'replayed clip')} bit-equal" if replayed else "not replayed"
    code = commit_text(run.provenance, 12)
    return {
        "inside": f"{code[0].upper()}{code[1:]}; hashes of prompts, weights, clips and scores of "
        f"{numbered(len(manifests), 'row')}; {again}.",
        "provenance": run.provenance,
        "starts": run.starts,
        "counts": count_prompts(run.prompts),
        "unrendered": unrendered_lines(run.prompts),
        "noises": run.noises,
        "replayed": run.replay,
        "replay_meaning": MEANING,
        "replay_lines": [
            ReplayLine(run.label(row.row), row, manifests.get(row.row) != row.manifest_sha256)
            for row in (run.replay.rows if run.replay is not None else ())
        ],
        "exports": exports_of(run),
        "config_json": json.dumps(run.settings.config, indent=1, ensure_ascii=False),
        "provenance_json": json.dumps(run.provenance, indent=1, ensure_ascii=False),
        "label": run.label,
    }
