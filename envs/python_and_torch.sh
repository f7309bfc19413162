# What every environment's installer begins and ends with; they source it from the repository's root.
TORCH_VERSION=2.13.0       # supported in .venv: 2.11 to 2.13
TORCHVISION_VERSION=0.28.0 # the one made for that torch
export PIP_DISABLE_PIP_VERSION_CHECK=1

# choose_torch NAME CHOICE: sets choice to cpu or cuda, of an empty CHOICE to what this machine has. NAME: what the user set it by.
choose_torch() {
  choice=$2
  if [ -z "$choice" ]; then
    if command -v nvidia-smi >/dev/null 2>&1; then choice=cuda; else choice=cpu; fi
  fi
  case $choice in cpu | cuda) ;; *)
    echo "$1 is '$choice', but must be cpu or cuda." >&2
    exit 2
    ;;
  esac
}

# choose_python WHY NEWEST NAME...: sets python to the first one that runs and is 3.11 to NEWEST (a name on PATH may be a shim for
# a version that is not there), and python_version. WHY: what is said if there is none.
choose_python() {
  local why=$1 newest=$2 name
  shift 2
  for name in ${PYTHON:-"$@"}; do
    if python_version=$("$name" -c 'import platform, sys
if (3, 11) <= sys.version_info[:2] <= (3, int(sys.argv[1].split(".")[1])): print(platform.python_version())' "$newest" 2>/dev/null) &&
      [ -n "$python_version" ]; then
      python=$name && return
    fi
  done
  echo "$why, and of ${PYTHON:-$*} none is; set PYTHON=/path/to/python$newest." >&2
  exit 2
}

# begin_environment VENV STAMP: says that it is built, and makes it; without the stamp it counts as unbuilt until the end.
begin_environment() {
  echo "Building $1 ($choice build of torch $TORCH_VERSION); this takes minutes the first time." >&2
  rm -f "$2"
  [ -x "$1/bin/python" ] || "$python" -m venv "$1"
}

# require_build NAME VENV: refuses a build of torch for the CPU where one for CUDA was asked for; sets cuda to its version.
require_build() {
  cuda=$("$2/bin/python" -c 'import torch; print(torch.version.cuda or "")')
  if [ "$choice" = cuda ] && [ -z "$cuda" ]; then
    echo "$1 cuda was asked for, but pip's configuration offers only a CPU build of torch $TORCH_VERSION; point pip at an index" \
      "with CUDA builds (pip config set global.index-url ...)." >&2
    exit 1
  fi
}
