#!/usr/bin/env bash
# Build .venvs/vbench_long, where clip-to-clip consistency of long clips is measured. Scoring calls this by itself.
# torch and torchvision come through the user's own pip configuration, all else from the hashed lock.
# Costs a second when nothing changed: a stamp holds the hash of lock and installer and what was asked for.
# Usage: envs/vbench_long/install.sh [--torch cpu|cuda] [--venv FOLDER]
#   --torch  default: cuda if an NVIDIA driver is present
set -euo pipefail
cd "$(dirname "$0")/../.."

LOCK=envs/vbench_long/requirements.lock
TORCH_VERSION=2.13.0
TORCHVISION_VERSION=0.28.0 # the one made for that torch

venv=.venvs/vbench_long
choice=
while [ $# -gt 0 ]; do
  case $1 in
  --torch) choice=$2 ;;
  --venv) venv=$2 ;;
  *)
    echo "envs/vbench_long/install.sh knows --torch and --venv, not '$1'." >&2
    exit 2
    ;;
  esac
  shift 2
done
if [ -z "$choice" ]; then
  if command -v nvidia-smi >/dev/null 2>&1; then choice=cuda; else choice=cpu; fi
fi
case $choice in cpu | cuda) ;; *)
  echo "--torch is '$choice', but must be cpu or cuda." >&2
  exit 2
  ;;
esac

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

hash=$(cat "$LOCK" envs/vbench_long/install.sh | sha256sum | cut -d' ' -f1)
want="$hash torch $TORCH_VERSION $choice $("$python" -c 'import platform; print(platform.python_version())')"
stamp=$venv/raven-bench.stamp
if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  touch "$venv/built-${hash:0:12}"
  exit 0
fi

echo "Building $venv ($choice build of torch $TORCH_VERSION); this takes minutes the first time." >&2
rm -f "$stamp" "$venv"/built-*
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install -qq "torch==$TORCH_VERSION"
pip install -qq --no-deps "torchvision==$TORCHVISION_VERSION"
pip install -qq --no-deps --require-hashes -r "$LOCK"
if [ "$choice" = cuda ] && [ -z "$("$venv/bin/python" -c 'import torch; print(torch.version.cuda or "")')" ]; then
  echo "--torch cuda was asked for, but pip's configuration offers only a CPU build of torch $TORCH_VERSION; point pip at an index" \
    "with CUDA builds (pip config set global.index-url ...)." >&2
  exit 1
fi
echo "$want" >"$stamp"
touch "$venv/built-${hash:0:12}" # what Snakemake looks for: another lock or installer, another name
