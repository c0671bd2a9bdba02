#!/bin/sh
# Makes sure that what compiling llama.cpp needs is here: cmake, a C++ compiler, and libclang for its bindings; and
# curl, for the command that the server prints and for its test.
# Further commands that are needed, such as servers that tests start, can be named; their packages have the same names,
# but for promtool, which comes with Prometheus.
# Installs what is missing on Debian and Ubuntu; elsewhere says what to install.
set -eu

missing=""
command -v cmake >/dev/null 2>&1 || missing="$missing cmake"
command -v c++ >/dev/null 2>&1 || missing="$missing g++"
command -v make >/dev/null 2>&1 || missing="$missing make"
command -v curl >/dev/null 2>&1 || missing="$missing curl"
for further in "$@"; do
  case "$further" in
    # A part of Python that Debian has in a package of its own.
    python3-venv) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 && continue ;;
    *) command -v "$further" >/dev/null 2>&1 && continue ;;
  esac
  case "$further" in
    promtool) package=prometheus ;;
    *) package=$further ;;
  esac
  case "$missing " in
    *" $package "*) ;;
    *) missing="$missing $package" ;;
  esac
done

# bindgen needs the library and the compiler's own headers. Debian's package has both; the library alone, or the C++
# library of nearly the same name that graphics drivers bring, would not do.
have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  [ "$(uname)" = Darwin ] && return 0
  if command -v dpkg-query >/dev/null 2>&1; then
    dpkg-query -W -f '${Status}\n' libclang-dev 'libclang-[0-9]*-dev' 2>/dev/null | grep -q '^install ok installed'
  else
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q 'libclang\(-[0-9.]*\)\{0,1\}\.so'
  fi
}
have_libclang || missing="$missing libclang-dev"

if ! command -v cargo >/dev/null 2>&1; then
  echo "error: cargo is not on the PATH; install Rust from https://rustup.rs" >&2
  exit 1
fi
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "error: these tools are missing:$missing; install them with your system's package manager" >&2
  exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || {
    echo "error: these packages are missing:$missing; install them as root: apt-get install$missing" >&2
    exit 1
  }
  as_root=sudo
fi
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
