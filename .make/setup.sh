#!/bin/sh
# Prepares .venv for this tree; does nothing, at once, if it is ready.
#   setup.sh        installs what running needs: requirements.txt
#   setup.sh dev    installs the development tools as well: requirements-dev.txt
#
# .venv/.setup is the state of the installation:
#   absent          not ours, possibly the user's own .venv: used if its Python is supported
#   "installing"    an install was interrupted, and what it left is unknown: built again from nothing
#   anything else   what it was installed from: pip runs again if that has changed
# .venv/.setup-dev is the checksum of the requirements-dev.txt that was installed; absent if none was.
set -euf
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.setup
requirements=requirements${1:+-$1}.txt
remedy="Install Python 3.11, 3.12 or 3.13 (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install \
python@3.13), or name one: make run PYTHON=/path/to/python3"

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# Prints 3.11 for an interpreter that runs; nothing for one that does not, such as a shim of pyenv without its version.
version_of() {
    "$1" -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

supported() {
    case $1 in 3.11 | 3.12 | 3.13) ;; *) return 1 ;; esac
}

# Sets $python and $version: to PYTHON if it is given, otherwise to the first supported Python on PATH.
find_python() {
    set -- python3 python3.13 python3.12 python3.11
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; fi
    found=
    for python; do
        version=$(version_of "$python")
        if supported "$version"; then return; fi
        found="$found${version:+ $python is Python $version.}"
    done
    if [ -n "$found" ]; then fail "TensorFlow 2.21 needs Python 3.11 to 3.13, but$found" "$remedy"; fi
    if [ -n "${PYTHON:-}" ]; then fail "PYTHON=$PYTHON does not run." "$remedy"; fi
    fail "There is no Python on PATH." "$remedy"
}

# What .venv depends on: these files, its own path (its scripts contain it), its Python, and NVIDIA's driver.
inputs() {
    cksum requirements.txt pyproject.toml .make/setup.sh
    printf '%s\n' "$PWD" "python $(version_of $venv/bin/python)" "driver $(command -v nvidia-smi || true)"
}

ready() {
    [ "$(cat $stamp 2>/dev/null)" = "$(inputs)" ] || return 1
    [ $requirements = requirements.txt ] || [ "$(cat $stamp-dev 2>/dev/null)" = "$(cksum $requirements)" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of $venv/bin/python)" ]
}

create() {
    find_python
    rm -rf $venv
    mkdir $venv
    echo installing >$stamp
    if said=$("$python" -m venv $venv 2>&1); then return; fi
    rm -rf $venv
    fail "$said" "$python cannot create $venv; its own message is above. If ensurepip is missing (Debian, Ubuntu): \
apt-get install python$version-venv. Then run make again."
}

if ready; then exit 0; fi
# Of two at once, such as run and test in two terminals, one installs; the other waits and finds it installed.
if command -v flock >/dev/null; then
    exec 9<requirements.txt
    flock 9 || true
    if ready; then exit 0; fi
fi

have=$(version_of $venv/bin/python)
if [ "$(cat $stamp 2>/dev/null)" = installing ]; then
    echo "setup: an earlier install was interrupted; building $venv again" >&2
    create
elif [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$have" ]; then
    create
elif ! supported "$have" || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    create
fi

before=$(cat $stamp 2>/dev/null || true)
echo installing >$stamp
wanted="-r $requirements"
if nvidia-smi -L >/dev/null 2>&1; then
    wanted="$wanted $(sed -n 's/^tensorflow\([^-]\)/tensorflow[and-cuda]\1/p' requirements.txt)"
fi
# Without a terminal pip is quiet: its progress would be hundreds of lines in a log.
[ -t 1 ] || wanted="--quiet $wanted"
if [ "$before" = "$(inputs)" ]; then
    echo "setup: adding the development tools to $venv" >&2
else
    echo "setup: installing TensorFlow and the rest into $venv (Python $(version_of $venv/bin/python)); once, about 2.5 GB" >&2
fi
# shellcheck disable=SC2086  # the words of $wanted are pip's arguments
if ! $venv/bin/python -m pip install --disable-pip-version-check $wanted -e .; then
    # Usually pip fails before it changes anything, so an installation that worked is kept.
    printf '%s\n' "$before" >$stamp
    fail "pip could not install $requirements; the reason is above. Usual ones: no network, a proxy (set HTTPS_PROXY \
or PIP_INDEX_URL), a full disk. Then run make again."
fi
[ $requirements = requirements.txt ] || cksum $requirements >$stamp-dev
inputs >$stamp.new
mv $stamp.new $stamp
