#!/usr/bin/env bash
# Build .venv: torch through the user's own pip configuration, everything else from the hashed lock.
# Puts the commands raven-bench and snakemake beside its Python. Costs seconds when nothing changed: a stamp holds the sha256 of the lock and the choice of torch.
# Usage: envs/main/install.sh [cpu|cuda] [3|2|build]
#   cpu|cuda   default: cuda if an NVIDIA driver is present
#   3|2|build  FlashAttention into it (envs/main/flash_attn.sh); default: as it is
set -euo pipefail
cd "$(dirname "$0")/../.."

. envs/python_and_torch.sh
VENV=.venv
LOCK=envs/main/requirements.lock
flash=${2:-}
choose_torch TORCH "${1:-}"
case $flash in '' | 3 | 2 | build) ;; *) exec envs/main/flash_attn.sh "$flash" ;; esac # it says what is allowed
if [ -n "$flash" ] && [ "$choice" = cpu ]; then
  echo "FLASH_ATTN=$flash needs a CUDA build of torch, and this machine has no NVIDIA driver, or TORCH=cpu was asked for; run" \
    "make env TORCH=cuda FLASH_ATTN=$flash." >&2
  exit 2
fi
with_flash() { if [ -n "$flash" ]; then envs/main/flash_attn.sh "$flash"; fi; }

choose_python "Python 3.11 or 3.12 is needed" 3.12 python3 python3.12 python3.11

command_line() {
  for name in raven-bench snakemake; do
    cmp -s "envs/main/$name" "$VENV/bin/$name" || install -m 755 "envs/main/$name" "$VENV/bin/$name"
  done
}

stamp=$VENV/raven-bench.stamp
want="$(sha256sum <"$LOCK" | cut -d' ' -f1) torch $TORCH_VERSION $choice $python_version"
if [ -x "$VENV/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  command_line
  with_flash
  exit
fi

begin_environment "$VENV" "$stamp"
if [ -f "$VENV/flash-attn.stamp" ]; then
  echo "FlashAttention was made for the torch before and is removed; make env FLASH_ATTN=... brings it back." >&2
  "$VENV/bin/python" -m pip uninstall -qq --yes fa3-fwd flash-attn
  rm "$VENV/flash-attn.stamp"
fi
"$VENV/bin/python" -m pip install -qq "torch==$TORCH_VERSION"
"$VENV/bin/python" -m pip install -qq --no-deps --require-hashes -r "$LOCK"
require_build TORCH "$VENV"
command_line
echo "$want" >"$stamp"
with_flash
