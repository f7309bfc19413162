#!/usr/bin/env bash
# Build .venv: torch through the user's own pip configuration, everything else from the hashed lock.
# Puts the command raven-bench beside its Python. Costs seconds when nothing changed: a stamp holds the sha256 of the lock and the choice of torch.
# Usage: envs/main/install.sh [cpu|cuda] [3|2|build]
#   cpu|cuda   default: cuda if an NVIDIA driver is present
#   3|2|build  FlashAttention into it (envs/main/flash_attn.sh); default: as it is
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv
LOCK=envs/main/requirements.lock
TORCH_VERSION=2.13.0 # supported: 2.11 to 2.13
choice=${1:-}
flash=${2:-}
if [ -z "$choice" ]; then
  if command -v nvidia-smi >/dev/null 2>&1; then choice=cuda; else choice=cpu; fi
fi
case $choice in cpu | cuda) ;; *)
  echo "TORCH is '$choice', but must be cpu or cuda; run for example: make report TORCH=cpu" >&2
  exit 2
  ;;
esac

case $flash in '' | 3 | 2 | build) ;; *) exec envs/main/flash_attn.sh "$flash" ;; esac # it says what is allowed
if [ -n "$flash" ] && [ "$choice" = cpu ]; then
  echo "FLASH_ATTN=$flash needs a CUDA build of torch, and this machine has no NVIDIA driver, or TORCH=cpu was asked for; run" \
    "make env TORCH=cuda FLASH_ATTN=$flash." >&2
  exit 2
fi
with_flash() { if [ -n "$flash" ]; then envs/main/flash_attn.sh "$flash"; fi; }

# The first Python that runs and is 3.11 or 3.12 (a name on PATH may be a shim for a version that is not there).
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }
python=
for name in ${PYTHON:-python3 python3.12 python3.11}; do
  if fits "$name"; then python=$name && break; fi
done
if [ -z "$python" ]; then
  echo "Python 3.11 or 3.12 is needed and ${PYTHON:-neither python3, python3.12 nor python3.11} is one;" \
    "set PYTHON=/path/to/python3.12." >&2
  exit 2
fi

command_line() { install -m 755 envs/main/raven-bench "$VENV/bin/raven-bench"; }

stamp=$VENV/raven-bench.stamp
want="$(sha256sum <"$LOCK" | cut -d' ' -f1) torch $TORCH_VERSION $choice $("$python" -c 'import platform; print(platform.python_version())')"
if [ -x "$VENV/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  cmp -s envs/main/raven-bench "$VENV/bin/raven-bench" || command_line
  with_flash
  exit
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 # and -qq: what is wrong is said, nothing else
echo "Building $VENV ($choice build of torch $TORCH_VERSION); this takes minutes the first time." >&2
[ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
if [ -f "$VENV/flash-attn.stamp" ]; then
  echo "FlashAttention was made for the torch before and is removed; make env FLASH_ATTN=... brings it back." >&2
  "$VENV/bin/python" -m pip uninstall -qq --yes fa3-fwd flash-attn
  rm "$VENV/flash-attn.stamp"
fi
"$VENV/bin/python" -m pip install -qq "torch==$TORCH_VERSION"
"$VENV/bin/python" -m pip install -qq --no-deps --require-hashes -r "$LOCK"
built=$("$VENV/bin/python" -c 'import torch; print(torch.version.cuda or "")')
if [ "$choice" = cuda ] && [ -z "$built" ]; then
  echo "TORCH=cuda was asked for, but pip's configuration offers only a CPU build of torch $TORCH_VERSION; point pip at an" \
    "index with CUDA builds (pip config set global.index-url ...), or run with TORCH=cpu." >&2
  exit 1
fi
command_line
echo "$want" >"$stamp"
with_flash
