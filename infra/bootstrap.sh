#!/usr/bin/env bash
# Sets up what Weir runs on, in this checkout: uv, the locked Python packages, Java, the broker's jars.
#
#   infra/bootstrap.sh [run|test|bench|lint]     default: run
#
# Does only what is missing: a second call takes no time and downloads nothing. As root on Debian it
# installs missing system packages by apt; elsewhere it names them and ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PURPOSE="${1:-run}"
readonly UV_PIN="uv==0.13.8" # the one that wrote uv.lock
readonly OLDEST_JAVA=17

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

case "$PURPOSE" in
  run | test | bench | lint) ;;
  *) fail "no set-up for '$PURPOSE': it is run, test, bench or lint" ;;
esac

# --- System packages -------------------------------------------------------------------------------

# install PACKAGE...: by apt as root on Debian, else a message that names them.
install() {
  local log apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
  if [[ $EUID -ne 0 ]] || ! have apt-get; then
    fail "missing: $*. Install what these Debian packages hold (apt-get install $*), and run this again."
  fi
  say "apt-get install $*"
  export DEBIAN_FRONTEND=noninteractive
  log="$(mktemp)"
  "${apt[@]}" update >"$log" 2>&1 </dev/null || say "apt-get update failed; trying with the lists there are"
  if ! "${apt[@]}" install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install $*: its last lines are above"
  fi
  rm -f "$log"
  hash -r
}

java_version() {
  local java=java
  [[ -z ${JAVA_HOME:-} ]] || java="$JAVA_HOME/bin/java"
  "$java" -version 2>&1 | sed -n 's/.* version "\(1\.\)\?\([0-9]*\).*/\2/p' | head -n 1
}

jars_are_there() {
  local stamp=infra/broker/lib/.stamp
  [[ -f $stamp && $(<"$stamp") == "$(sha256sum <infra/broker/pom.xml | cut -d ' ' -f 1)" ]]
}

# All that is missing at once, before anything is downloaded.
need_system_packages() {
  local missing=() version python
  if [[ ! -x .venv/bin/python ]]; then
    if ! python="$(find_python)"; then
      missing+=(python3 python3-venv)
    elif ! { find_uv || has_venv "$python" || has_pip "$python"; }; then
      missing+=(python3-venv)
    fi
  fi
  if [[ $PURPOSE != lint ]]; then
    if jars_are_there; then
      have java || [[ -n ${JAVA_HOME:-} ]] || missing+=(openjdk-17-jre-headless)
    else
      version="$(java_version || true)"
      if [[ -z $version ]]; then
        missing+=(openjdk-17-jre-headless)
      elif [[ $version -lt $OLDEST_JAVA ]]; then
        fail "java (of JAVA_HOME, or the first on PATH) is version $version; the broker needs $OLDEST_JAVA or newer (Debian: openjdk-17-jre-headless)."
      fi
      have mvn || missing+=(maven)
    fi
  fi
  if [[ $PURPOSE == test ]]; then # the page is tested in a real browser
    have chromium || have chromium-browser || have google-chrome || missing+=(chromium)
  fi
  if [[ ${#missing[@]} -gt 0 ]]; then install "${missing[@]}"; fi
}

# --- Python and uv ---------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3; do
    # The real path: a name may be a shim that works in some folders only.
    "$candidate" -c 'import sys
if not (3, 11) <= sys.version_info < (3, 13): sys.exit(1)
print(sys.executable)' 2>/dev/null && return
  done
  return 1
}

PYTHON=""
need_python() {
  [[ -n $PYTHON ]] && return
  PYTHON="$(find_python)" || fail "Python 3.11 or 3.12 is missing, and this system's python3 is another version."
}

# Debian splits venv and pip from Python: either will do to get uv, and neither touches the system.
has_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }
has_pip() { "$1" -m pip --version >/dev/null 2>&1; }

UV=""
find_uv() {
  local candidate
  for candidate in .uv/bin/uv uv; do
    if "$candidate" --version >/dev/null 2>&1; then
      UV="$candidate"
      return
    fi
  done
  return 1
}

need_uv() {
  find_uv && return
  need_python
  say "installing uv into .uv/"
  rm -rf .uv
  local quietly=(--quiet --disable-pip-version-check --root-user-action=ignore)
  if has_venv "$PYTHON"; then
    "$PYTHON" -m venv .uv
    .uv/bin/python -m pip install "${quietly[@]}" "$UV_PIN"
  elif has_pip "$PYTHON"; then
    "$PYTHON" -m pip install "${quietly[@]}" --target .uv "$UV_PIN"
  else
    fail "$PYTHON has neither venv nor pip: install one of them (Debian: python3-venv), or uv itself, and run this again."
  fi
  UV=.uv/bin/uv
}

# Each purpose adds its packages to the same environment; a stamp for each says from which lock.
sync_packages() {
  local wanted groups=() stamp=".venv/.weir-$PURPOSE"
  wanted="$(cat uv.lock pyproject.toml | sha256sum)"
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
  case "$PURPOSE" in
    test) groups=(--group test --extra onnx) ;;
    lint) groups=(--group lint) ;;
  esac
  need_uv
  # Only Pythons of this machine: uv would fetch one from outside the package index.
  export UV_PYTHON_DOWNLOADS=never
  if [[ ! -x .venv/bin/python ]]; then
    need_python
    "$UV" venv --quiet --python "$PYTHON" .venv
  fi
  say "installing the locked Python packages"
  # Compiled once: every start of every process would do it again where Python may not keep bytecode.
  "$UV" sync --quiet --frozen --inexact --no-default-groups --compile-bytecode "${groups[@]}"
  printf '%s\n' "$wanted" >"$stamp"
}

# What the benchmark compares with: an environment of its own, from a lock of its own.
sync_peers() {
  local wanted peers=tests/benchmarks/peers stamp=.venv-bench/.weir-bench
  wanted="$(cat "$peers/uv.lock" "$peers/pyproject.toml" | sha256sum)"
  [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && return
  need_uv
  export UV_PYTHON_DOWNLOADS=never
  say "installing the benchmark's peers"
  UV_PROJECT_ENVIRONMENT="$PWD/.venv-bench" "$UV" sync --quiet --frozen --project "$peers" \
    --python .venv/bin/python
  printf '%s\n' "$wanted" >"$stamp"
}

need_system_packages
sync_packages
if [[ $PURPOSE == bench ]]; then sync_peers; fi
if [[ $PURPOSE != lint ]] && ! jars_are_there; then
  say "fetching the broker's jars (45 MB, once)"
  .venv/bin/python -m services.broker
fi
