#!/bin/bash
# Installs what fcil needs to build, test and plot, from Debian's packages, and only what is missing.
# usage: scripts/setup.sh [--check]      --check: also what scripts/check.sh needs
set -euo pipefail

die() {
    echo "setup.sh: $*" >&2
    exit 1
}

# package, and what proves that its content is here even if it came from elsewhere:
# a command, a pkg-config module, or a header.
packages='
gcc                     command gcc
libc6-dev               header  stdio.h
meson                   command meson
ninja-build             command ninja
pkg-config              command pkg-config
libopenblas-openmp-dev  openmp  openblas
liblapacke-dev          header  lapacke.h
libpng-dev              module  libpng
libstb-dev              header  stb/stb_image.h
libyaml-dev             module  yaml-0.1
libjansson-dev          module  jansson
zlib1g-dev              module  zlib
libmd-dev               module  libmd
librandom123-dev        header  Random123/philox.h
libcmocka-dev           module  cmocka
gnuplot-nox             command gnuplot'
check_packages='
clang                   command clang
clang-format            command clang-format
libclang-rt-14-dev      package only
libomp-dev              package only
shellcheck              command shellcheck'

case "${1-}" in
'') ;;
--check) packages+=$check_packages ;;
*)
    sed -n '2,3s/^# //p' "$0" >&2
    [[ $1 == --help || $1 == -h ]] && exit 0
    exit 2
    ;;
esac

# is_here PACKAGE KIND NAME: true if the package is installed or its content is here
is_here() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]] && return
    case $2 in
    command) command -v "$3" >/dev/null ;;
    module) pkg-config --exists "$3" 2>/dev/null ;;
    header) gcc -E -include "$3" -x c /dev/null >/dev/null 2>&1 ;;
    # Debian's other flavours of OpenBLAS do not go with OpenMP; elsewhere any OpenBLAS is taken
    openmp) ! command -v dpkg-query >/dev/null && pkg-config --exists "$3" 2>/dev/null ;;
    *) false ;;
    esac
}

missing=()
while read -r package kind name; do
    [[ -z $package ]] || is_here "$package" "$kind" "$name" || missing+=("$package")
done <<<"$packages"
[[ ${#missing[@]} -gt 0 ]] || exit 0

by_hand="please install by hand: ${missing[*]}"
command -v apt-get >/dev/null || die "there is no apt-get here; $by_hand"
as_root=()
if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || die "not root and there is no sudo; $by_hand"
    as_root=(sudo)
    [[ -t 0 ]] || as_root+=(-n) # nobody there to type a password
    "${as_root[@]}" true 2>/dev/null || die "sudo refuses to work for $(id -un); $by_hand"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=120 "$@" \
        </dev/null >>"$log" 2>&1
}

echo "setup: installing ${missing[*]}" >&2
# The package lists may be absent or out of date: fetch them only if a first try fails.
install=(install --no-install-recommends "${missing[@]}")
if ! apt "${install[@]}" && ! { : >"$log" && apt update && apt "${install[@]}"; }; then
    tail -n 15 "$log" >&2
    die "apt-get failed, see above; $by_hand"
fi
