#!/usr/bin/env bash
# Build .venvs/vbench, where the official VBench runs, apart from everything else. Scoring calls this by itself.
# torch and torchvision come through the user's own pip configuration, all else from the hashed lock, detectron2 from one commit.
# Costs a second when nothing changed: a stamp holds the hashes of lock and installer and what was asked for.
# Usage: envs/vbench/install.sh [--torch cpu|cuda] [--detectron2 none|<checkout>|<wheel>] [--venv FOLDER]
#   --torch       default: cuda if an NVIDIA driver is present
#   --detectron2  default: its repository; none leaves out the four dimensions that need it (GRiT). Its build needs git, a C++
#                 compiler (CXX) and Python's headers, no nvcc; MAX_JOBS (default 2) is obeyed. A wheel needs none of these
set -euo pipefail
cd "$(dirname "$0")/../.."

. envs/python_and_torch.sh
LOCK=envs/vbench/requirements.lock
DETECTRON2_REPO=https://github.com/facebookresearch/detectron2
DETECTRON2_COMMIT=a25898a09d6ee232767647e92c6177fb1c642369

venv=.venvs/vbench
choice=
detectron2=$DETECTRON2_REPO
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || { echo "envs/vbench/install.sh: $1 needs a value behind it." >&2 && exit 2; }
  case $1 in
  --torch) choice=$2 ;;
  --detectron2) detectron2=${2:-$DETECTRON2_REPO} ;;
  --venv) venv=$2 ;;
  *)
    echo "envs/vbench/install.sh knows --torch, --detectron2 and --venv, not '$1'." >&2
    exit 2
    ;;
  esac
  shift 2
done
choose_torch --torch "$choice"
choose_python "VBench needs Python 3.11 exactly (its tokenizers 0.13.3 has no wheel for newer ones)" 3.11 python3.11 python3 python

# What detectron2 is built from. Its dimensions call none of its CUDA code, so one CPU build of its extension serves everywhere.
source_of_detectron2() {
  case $detectron2 in
  none) echo none ;;
  *.whl)
    [ -f "$detectron2" ] || { echo "The detectron2 wheel $detectron2 does not exist; correct its path." >&2 && return 1; }
    echo "wheel $(sha256sum <"$detectron2" | cut -d' ' -f1)"
    ;;
  "$DETECTRON2_REPO") echo "commit $DETECTRON2_COMMIT" ;;
  *)
    found=$(git -c safe.directory='*' -C "$detectron2" rev-parse HEAD 2>/dev/null || echo "no commit (it is no checkout)")
    if [ "$found" != "$DETECTRON2_COMMIT" ]; then
      echo "The detectron2 checkout $detectron2 is at $found, expected $DETECTRON2_COMMIT; check that commit out, or name a wheel built" \
        "from it." >&2
      return 1
    fi
    echo "commit $DETECTRON2_COMMIT"
    ;;
  esac
}
built_from=$(source_of_detectron2)
hash=$(cat "$LOCK" envs/vbench/install.sh envs/python_and_torch.sh | sha256sum | cut -d' ' -f1)
base="$hash torch $TORCH_VERSION $choice $python_version detectron2"
want="$base $built_from"
stamp=$venv/raven-bench.stamp
if [ -x "$venv/bin/python" ] && [ -f "$stamp" ]; then
  have=$(cat "$stamp")
  # Without detectron2 asked for, an environment that has it serves as well.
  if [ "$have" = "$want" ] || { [ "$detectron2" = none ] && [ "${have#"$base "}" != "$have" ]; }; then
    touch "$venv/built-${hash:0:12}"
    exit 0
  fi
fi

# What compiles detectron2, asked for before minutes of installing.
wheel_needs() { echo "$* or name a wheel built elsewhere from commit $DETECTRON2_COMMIT as scoring.detectron2 in the suite's file." >&2; }
case $built_from in commit*)
  if ! ls .venvs/wheels/detectron2-"${DETECTRON2_COMMIT:0:12}-torch$TORCH_VERSION"-*/*.whl >/dev/null 2>&1; then
    command -v "${CXX:-c++}" >/dev/null || {
      wheel_needs "detectron2 is compiled with a C++ compiler, and ${CXX:-c++} is none; install g++, set CXX,"
      exit 1
    }
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -f "$headers/Python.h" ] || {
      wheel_needs "detectron2 is compiled against Python's headers, and there is no $headers/Python.h; install python3.11-dev,"
      exit 1
    }
  fi
  ;;
esac

rm -f "$venv"/built-*
begin_environment "$venv" "$stamp"
pip() { "$venv/bin/python" -m pip "$@"; }
# First what the packages without wheels are built with: openai-clip's setup needs an old setuptools, which isolation would not give.
first=$(mktemp)
work=
trap 'rm -rf "$first" "$work"' EXIT
awk '/^[a-z]/ {keep = /^(setuptools|wheel|ninja|numpy|cython)==/} keep' "$LOCK" >"$first"
pip install -qq --no-deps --require-hashes -r "$first"
pip install -qq "torch==$TORCH_VERSION"
pip install -qq --no-deps "torchvision==$TORCHVISION_VERSION"
pip install -qq --no-deps --no-build-isolation --require-hashes -r "$LOCK"
require_build --torch "$venv"

if [ "$detectron2" = none ]; then
  :
elif [ "${detectron2%.whl}" != "$detectron2" ]; then
  pip install -qq --no-deps --force-reinstall "$detectron2"
else
  wheels=.venvs/wheels/detectron2-${DETECTRON2_COMMIT:0:12}-torch$TORCH_VERSION-${cuda:-cpu}
  if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
    work=$(mktemp -d)
    if [ "$detectron2" = "$DETECTRON2_REPO" ]; then
      git -C "$work" init --quiet
      git -C "$work" fetch --quiet --depth 1 "$DETECTRON2_REPO" "$DETECTRON2_COMMIT" || {
        echo "detectron2 could not be fetched from $DETECTRON2_REPO; where that host cannot be reached, name a checkout at commit" \
          "$DETECTRON2_COMMIT, or a wheel built from it, as scoring.detectron2 in the suite's file." >&2
        exit 1
      }
      git -C "$work" checkout --quiet FETCH_HEAD
    else
      git -c safe.directory='*' -C "$detectron2" archive HEAD | tar x -C "$work"
    fi
    export MAX_JOBS=${MAX_JOBS:-2}
    echo "Building detectron2 ${DETECTRON2_COMMIT:0:12} for the CPU (no nvcc is needed, on GPUs it serves too) with ${CXX:-c++} and" \
      "MAX_JOBS=$MAX_JOBS, about 4 minutes of one core; the wheel is kept in $wheels." >&2
    mkdir -p "$wheels"
    CUDA_VISIBLE_DEVICES='' FORCE_CUDA=0 pip wheel -qq --no-deps --no-build-isolation -w "$wheels" "$work"
  fi
  pip install -qq --no-deps --force-reinstall "$wheels"/*.whl
fi
echo "$want" >"$stamp"
touch "$venv/built-${hash:0:12}" # what Snakemake looks for: another lock or installer, another name
