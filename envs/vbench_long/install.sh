#!/usr/bin/env bash
# Build .venvs/vbench_long, where clip-to-clip consistency of long clips is measured. Scoring calls this by itself.
# torch and torchvision come through the user's own pip configuration, all else from the hashed lock.
# Costs a second when nothing changed: a stamp holds the hash of lock and installer and what was asked for.
# Usage: envs/vbench_long/install.sh [--torch cpu|cuda] [--venv FOLDER]
#   --torch  default: cuda if an NVIDIA driver is present
set -euo pipefail
cd "$(dirname "$0")/../.."

. envs/python_and_torch.sh
LOCK=envs/vbench_long/requirements.lock

venv=.venvs/vbench_long
choice=
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || { echo "envs/vbench_long/install.sh: $1 needs a value behind it." >&2 && exit 2; }
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
choose_torch --torch "$choice"
choose_python "Python 3.11 or 3.12 is needed" 3.12 python3 python3.12 python3.11

hash=$(cat "$LOCK" envs/vbench_long/install.sh envs/python_and_torch.sh | sha256sum | cut -d' ' -f1)
want="$hash torch $TORCH_VERSION $choice $python_version"
stamp=$venv/raven-bench.stamp
if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
  touch "$venv/built-${hash:0:12}"
  exit 0
fi

rm -f "$venv"/built-*
begin_environment "$venv" "$stamp"
pip() { "$venv/bin/python" -m pip "$@"; }
pip install -qq "torch==$TORCH_VERSION"
pip install -qq --no-deps "torchvision==$TORCHVISION_VERSION"
pip install -qq --no-deps --require-hashes -r "$LOCK"
require_build --torch "$venv"
echo "$want" >"$stamp"
touch "$venv/built-${hash:0:12}" # what Snakemake looks for: another lock or installer, another name
