#!/usr/bin/env bash
# `snakemake --lint`, without two hints: venvs are no conda environment or container per rule, and ON_GPU is no parameter,
# since jobs would run again when another profile chooses the GPUs.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=$(snakemake --lint --configfile workflow/config/toybox.yaml 2>&1)
left=$(grep -vE '^(Using profile|Lints for rule|Lints for snakefile|    \* No conda environment|      (This can be|Also see|either|https?://|Specify|specified))|^\s*$' <<<"$out" || true)
bullets=$(grep -E '^    \* ' <<<"$out" |
  grep -vE 'Specify a conda environment or container for each rule|uses variable ON_GPU from outside' || true)
if [ -n "$bullets" ] || grep -qE 'Error|Exception' <<<"$out"; then
  echo "$out"
  exit 1
fi
