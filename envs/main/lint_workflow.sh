#!/usr/bin/env bash
# `snakemake --lint`, without its one hint that venvs cannot meet (a conda environment or container per rule).
set -uo pipefail
cd "$(dirname "$0")/../.."
out=$(snakemake --lint --configfile workflow/config/toybox.yaml 2>&1)
left=$(grep -vE '^(Using profile|Lints for rule|Lints for snakefile|    \* No conda environment|      (This can be|Also see|either|https?://|Specify|specified))|^\s*$' <<<"$out" || true)
bullets=$(grep -E '^    \* ' <<<"$out" | grep -v 'Specify a conda environment or container for each rule' || true)
if [ -n "$bullets" ] || grep -qE 'Error|Exception' <<<"$out"; then
  echo "$out"
  exit 1
fi
