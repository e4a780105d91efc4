#!/bin/sh
# Makes sure that MuJoCo can render without a screen, and installs Mesa's software renderer where it cannot.
# Usage: system_libraries.sh <python of the environment>
set -eu

python=$1
packages="libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"

renders() {
    "$python" -c "from cola_world.data.simulate import choose_renderer; choose_renderer()" >/dev/null 2>&1
}

if renders; then
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root=none
fi
if [ "$as_root" != none ] && command -v apt-get >/dev/null; then
    echo "Installing the off-screen renderer: $packages"
    $as_root apt-get update -qq || true
    # shellcheck disable=SC2086 # both are lists of words
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null || true
fi
if ! renders; then
    echo "No off-screen OpenGL: install the libraries of EGL with Mesa's software renderer ($packages on Debian and Ubuntu), then call make again." >&2
    exit 1
fi
