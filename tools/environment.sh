# Sourced by ./flatyard and ./test, with $root set to the checkout. POSIX sh; it writes to stderr only.
#
#   become_invoker       under sudo: sets $as, the command prefix that acts as the person who called sudo
#   keep_root_for_machines ARGUMENTS   root again, where the command line is about machines of this machine
#   environment run      .venv/ holds what locks/run.txt says; make or mend it if not
#   environment dev      the same for locks/dev.txt, a superset
#
# FLATYARD_EXTRAS="aws azure" brings the SDKs of clouds in as well, by locks/aws.txt and so on. They stay: .venv/extras
# remembers them.
#
# .venv/made-run and .venv/made-dev say what .venv/ was made from. They go first and come last whenever it changes,
# so that an interrupted run leaves nothing that looks ready.

as=''
own_home=${HOME:-}

say() {
    printf 'flatyard: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Under sudo everything runs as the person who called it: no file of root's in the checkout or the state, and the
# same state as without sudo. A checkout which that person cannot reach is root's own, and root stays root.
become_invoker() {
    case ${SUDO_UID:-0}${SUDO_GID:-0} in *[!0-9]*) return ;; esac
    [ "${SUDO_UID:-0}" != 0 ] && [ "$(id -u)" = 0 ] || return 0
    for way in \
        "setpriv --reuid $SUDO_UID --regid ${SUDO_GID:-0} --init-groups --" \
        "setpriv --reuid $SUDO_UID --regid ${SUDO_GID:-0} --clear-groups --" \
        "sudo -n -E -u #$SUDO_UID --"
    do
        if $way test -x "$root/flatyard" 2>/dev/null; then
            as=$way
            name=$(id -un "$SUDO_UID" 2>/dev/null) || name=
            case $name in '' | *[!A-Za-z0-9._-]*) return 0 ;; esac
            eval "HOME=~$name"
            USER=$name LOGNAME=$name
            export HOME USER LOGNAME
            return 0
        fi
    done
}

# Machines of the cloud `local` are this machine's own processes, mounts and interfaces, which root alone may make. So
# root stays root for `up` of a file that has such a cluster, and for every command about one that root has made.
keep_root_for_machines() {
    [ -n "$as" ] || return 0
    verb=''
    for word do
        case $word in
            -*) ;;
            *)
                if [ -z "$verb" ]; then
                    verb=$word
                elif is_of_this_machine "$verb" "$word"; then
                    as='' HOME=$own_home PYTHONDONTWRITEBYTECODE=1
                    export HOME PYTHONDONTWRITEBYTECODE
                    return 0
                fi
                ;;
        esac
    done
}

is_of_this_machine() {
    case $1 in
        up) has_line "$2" '*[{ ]local:*' ;;
        butane | ignition | sysext | schema | completion | version) return 1 ;;
        *) has_line "${FLATYARD_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/flatyard}/run/$2.json" '*"twin": "local"*' ;;
    esac
}

# Whether a line of a file, without its comment, matches a pattern of the shell's.
has_line() {
    [ -f "$1" ] && [ -r "$1" ] || return 1
    while IFS= read -r line || [ -n "$line" ]; do
        # shellcheck disable=SC2254  # the pattern is meant as one
        case ${line%%#*} in $2) return 0 ;; esac
    done <"$1"
    return 1
}

# What .venv/ has to be made from; the checkout's own path is part of it because a venv cannot be moved.
wanted() {
    printf '%s\n' "$root"
    cat "$root/pyproject.toml" "$root/locks/uv.txt" "$root/locks/$1.txt"
    [ ! -r "$root/.venv/extras" ] || while read -r name; do cat "$root/locks/$name.txt"; done <"$root/.venv/extras"
}

# Whether every SDK that is asked for was brought in; the tests' environment has them all.
has_extras() {
    had=' '
    [ ! -r "$root/.venv/extras" ] || while read -r name; do had="$had$name "; done <"$root/.venv/extras"
    for name in ${FLATYARD_EXTRAS:-}; do
        case $had in *" $name "*) ;; *) [ "$1" = dev ] || return 1 ;; esac
    done
}

current() {
    [ -r "$root/.venv/made-$1" ] && [ -x "$root/.venv/bin/python" ] || return 1
    [ -z "${FLATYARD_EXTRAS:-}" ] || has_extras "$1" || return 1
    [ "$(cat "$root/.venv/made-$1")" = "$(wanted "$1")" ]
}

environment() {
    current "$1" && return
    # A process of its own: it holds the lock, and under sudo it is the owner of the checkout who makes .venv/.
    (
        owner=$as
        if [ -n "$as" ] && ! $as test -w "$root"; then
            owner='' HOME=$own_home
        fi
        exec $owner /bin/sh -c 'root=$1; . "$root/tools/environment.sh"; make_environment "$2"' sh "$root" "$1"
    ) || exit 1
}

make_environment() {
    [ -w "$root" ] || die "cannot write to $root, where .venv/ has to be made; make it writable for $(id -un), or clone it elsewhere"
    find_python
    take_lock
    if ! current "$1"; then
        [ -e "$root/.venv/made-$1" ] || say "making .venv/ with $python (once, well under a minute)"
        "$python" "$root/tools/environment.py" "$root" "$1" ||
            die "could not make .venv/, for the reason above; nothing half-made will be used, so run this again once it is mended"
    fi
}

# Sets $python to the first interpreter that is new enough and can install: with pip, or with venv and ensurepip.
find_python() {
    python='' bare=''
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        command -v "$name" >/dev/null 2>&1 || continue
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if "$name" -c 'from importlib.util import find_spec as f; raise SystemExit(not (f("pip") or (f("venv") and f("ensurepip"))))'
        then
            python=$name
            return
        fi
        bare=${bare:-$name}
    done
    [ -z "$bare" ] || die "$bare has neither pip nor venv; install one of them (for example: apt install python3-venv) and run this again"
    die "needs Python 3.11 or newer and finds none on PATH; install it (for example: apt install python3 python3-venv) and run this again"
}

# One process at a time; the others wait here and then find the work done. Released when this process ends.
take_lock() {
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$root/.venv.lock"
        flock -n 9 || {
            say "waiting for another process that is making .venv/"
            flock 9
        }
    else
        take_lock_by_directory "$root/.venv.lock.d"
    fi
}

# Without flock (macOS): mkdir is atomic, and the holder's process id tells a dead holder from a slow one.
take_lock_by_directory() {
    said=''
    until mkdir "$1" 2>/dev/null; do
        [ -n "$said" ] || say "waiting for another process that is making .venv/"
        said=yes
        holder=$(cat "$1/holder" 2>/dev/null) || holder=
        sleep 1
        if [ "$holder" = "$(cat "$1/holder" 2>/dev/null)" ] && ! kill -0 "${holder:-x}" 2>/dev/null; then
            mv "$1" "$1.$$" 2>/dev/null && rm -rf "$1.$$"
        fi
    done
    echo $$ >"$1/holder"
    lock_directory=$1
    trap 'rm -rf "$lock_directory"' EXIT
    trap 'exit 130' INT TERM HUP
}
