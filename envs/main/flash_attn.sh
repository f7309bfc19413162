#!/usr/bin/env bash
# Install FlashAttention into .venv; optional, models/README.md#flashattention says what it brings.
# Usage: envs/main/flash_attn.sh 3|2|build        (make env FLASH_ATTN=3|2|build)
#   3      FlashAttention 3, for Hopper (H100, H200): a wheel of 28 MB from the registry; needs a CUDA 13 build of torch, Linux
#   build  FlashAttention 2, for Ampere and Ada (A100, RTX 30 and 40): compiles the registry's sources with nvcc and keeps the
#          wheel in .venvs/wheels; TORCH_CUDA_ARCH_LIST (default: this machine's GPUs, else 8.0) and MAX_JOBS (default 2) are obeyed
#   2      the wheel that `build` made for this torch, on a machine without nvcc
# Everything is pinned by hash: envs/main/flash-attn-3.lock and flash-attn-2.lock.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv
choice=${1:-}
refuse() {
  echo "FLASH_ATTN=$choice: $*" >&2
  exit 2
}
case $choice in 3 | 2 | build) ;; *)
  refuse "it must be 3 (FlashAttention 3, a wheel for Hopper), build (FlashAttention 2, compiled for Ampere and Ada) or 2 (the wheel" \
    "that build made)."
  ;;
esac

facts=$("$VENV/bin/python" -c '
import sys, torch
gpus = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
print(torch.__version__, torch.version.cuda or "none", "cp%d%d" % sys.version_info[:2])
print(*sorted("%d.%d" % gpu for gpu in gpus))
' 2>/dev/null) || refuse "$VENV has no torch that works; run make env TORCH=cuda first."
{ read -r torch cuda python && read -r gpus; } <<<"$facts" || true
[ "$cuda" != none ] || refuse "it needs a CUDA build of torch, and $VENV has torch $torch for the CPU; run make env TORCH=cuda" \
  "FLASH_ATTN=$choice where pip offers one."
[ "$(uname -s)" = Linux ] || refuse "it needs Linux, and this is $(uname -s)."

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
lock=envs/main/flash-attn-${choice/build/2}.lock
stamp=$VENV/flash-attn.stamp
want="$choice $(sha256sum <"$lock" | cut -d' ' -f1) torch $torch cuda $cuda $python"

# Imports what was installed; removes it if that fails, so that no job meets it.
finish() {
  if ! said=$("$VENV/bin/python" -c "import torch, $1" 2>&1); then
    pip uninstall --yes "$2"
    refuse "$2 was installed and does not import (${said##*$'\n'}); it was removed again, and torch's own attention is used."
  fi
  echo "$want" >"$stamp"
  echo "FLASH_ATTN=$choice: $2 is installed for torch $torch, CUDA $cuda; make doctor names the kernel that is used." >&2
}

if [ "$choice" = 3 ]; then
  [ "${cuda%%.*}" = 13 ] || refuse "its wheel is made for CUDA 13, and torch $torch is for CUDA $cuda; point pip at an index with" \
    "CUDA 13 builds and make env anew, or leave it out (torch's own attention is used)."
  case $(uname -m) in x86_64 | aarch64) ;; *) refuse "its wheels are for x86_64 and aarch64, and this is $(uname -m)." ;; esac
  [ -z "$gpus" ] || [[ " $gpus " == *" 9.0 "* ]] || echo "FLASH_ATTN=3: the GPUs here are of compute capability $gpus, and" \
    "FlashAttention 3 is used on 9.0 (Hopper) alone." >&2
  [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ] || exit 0
  pip install --no-deps --only-binary=:all: --require-hashes -r "$lock"
  finish fa3_fwd_interface fa3-fwd
  exit
fi

archs=${TORCH_CUDA_ARCH_LIST:-${gpus:-8.0}}
archs=${archs//[;,]/ }
[[ " $archs" == *" 8."* ]] || refuse "it is FlashAttention 2, which is used on compute capability 8.x (Ampere, Ada) alone, and" \
  "TORCH_CUDA_ARCH_LIST or the GPUs here say $archs; on 9.0 take FLASH_ATTN=3, elsewhere torch's own attention is the fastest."
wheels=.venvs/wheels/flash-attn-2-$(sha256sum <"$lock" | cut -c1-12)-torch$torch-cuda$cuda-$python
if [ "$choice" = 2 ] && ! ls "$wheels"/*.whl >/dev/null 2>&1; then
  refuse "there is no wheel in $wheels, and the registry has sources alone; make env FLASH_ATTN=build compiles them where nvcc is."
fi
if ! ls "$wheels"/*.whl >/dev/null 2>&1; then
  nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
  nvcc=$(command -v "${nvcc:-nvcc}") || refuse "it compiles with nvcc, and there is none" \
    "(${CUDA_HOME:+$CUDA_HOME/bin, }PATH); install CUDA's toolkit ${cuda%%.*} or set CUDA_HOME to one."
  has=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
  [ "${has%%.*}" = "${cuda%%.*}" ] || refuse "nvcc is of CUDA ${has:-unknown} and torch of CUDA $cuda; set CUDA_HOME to a toolkit" \
    "of CUDA ${cuda%%.*}."
  export MAX_JOBS=${MAX_JOBS:-2} NVCC_THREADS=${NVCC_THREADS:-2} FLASH_ATTENTION_FORCE_BUILD=TRUE
  CUDA_HOME=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
  export CUDA_HOME
  # flash-attn has an architecture list of its own: all of 8.x run the code for 8.0.
  FLASH_ATTN_CUDA_ARCHS=$(for arch in $archs; do echo "${arch%%.*}0"; done | sort -un | paste -sd';')
  export FLASH_ATTN_CUDA_ARCHS
  echo "FLASH_ATTN=build: compiling FlashAttention 2 for TORCH_CUDA_ARCH_LIST='$archs' (flash-attn: $FLASH_ATTN_CUDA_ARCHS) with" \
    "MAX_JOBS=$MAX_JOBS, nvcc $has of $CUDA_HOME; 73 files, up to 9 GB of memory a job, an hour or more." >&2
  tools=$(mktemp)
  made=$(mktemp -d)
  trap 'rm -rf "$tools" "$made"' EXIT
  awk '/^[a-z]/ {keep = !/^flash-attn==/} keep' "$lock" >"$tools"
  pip install --no-deps --require-hashes -r "$tools"
  awk '/^[a-z]/ {keep = /^flash-attn==/} keep' "$lock" >"$tools"
  PATH=$PWD/$VENV/bin:$PATH pip wheel --no-deps --no-build-isolation --require-hashes -w "$made" -r "$tools"
  (cd "$made" && sha256sum ./*.whl >SHA256SUMS)
  mkdir -p .venvs/wheels
  rm -rf "$wheels"
  chmod 755 "$made"
  mv "$made" "$wheels"
fi
(cd "$wheels" && sha256sum --quiet --check SHA256SUMS) || refuse "the wheel in $wheels is not the one that was built; delete that" \
  "folder and run make env FLASH_ATTN=build."
[ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ] || exit 0
pip install --no-deps --force-reinstall "$wheels"/*.whl
finish flash_attn flash-attn
