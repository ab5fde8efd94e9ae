# Sourced by start.sh and stop.sh: the sandbox's settings, and its daemons as recorded processes.

# Everything is written below DIR. Keep it short: the path of a Unix socket has at most 107 characters.
DIR=${SLURM_SANDBOX_DIR:-/tmp/slurm-sandbox}
export PATH=$PATH:/usr/sbin:/sbin

say() { echo "slurm sandbox: $*"; }
cannot() { say "$*" >&2; exit 77; } # this machine is not made for it; all else is a failure
die() { say "$*" >&2; exit 1; }

[[ $DIR == /?* ]] || die "SLURM_SANDBOX_DIR=$DIR: an absolute path is needed"
[[ ${#DIR} -le 70 ]] || die "SLURM_SANDBOX_DIR=$DIR: too long for Unix sockets, use at most 70 characters"

# A process is known by its pid and its start time, so that a reused pid is never taken for ours.
started_at() { awk '{ sub(/^.*\) /, ""); if ($1 != "Z") print $20 }' "/proc/$1/stat" 2>/dev/null || true; }

alive() { # name
    local pid start
    [[ -s $DIR/pids/$1 ]] || return 1
    read -r pid start <"$DIR/pids/$1"
    [[ -n ${start:-} && $(started_at "$pid") == "$start" ]]
}

launch() { # name command...: a daemon in the foreground mode it has, in a session of its own
    local name=$1 pid
    shift
    setsid "$@" >"$DIR/log/$name.out" 2>&1 </dev/null &
    pid=$!
    sleep 0.05
    echo "$pid $(started_at "$pid")" >"$DIR/pids/$name"
}

wait_for() { # seconds name command...: until the command succeeds, or the daemon is dead
    local name=$2 end=$(($(date +%s) + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! alive "$name" || [[ $(date +%s) -ge $end ]]; then
            tail -n 20 "$DIR/log/$name"* >&2 || true
            die "$name does not come up; its logs are in $DIR/log"
        fi
        sleep 0.1
    done
}

end() { # name [seconds]: ask it to stop, then make it
    local pid start
    if alive "$1"; then
        read -r pid start <"$DIR/pids/$1"
        kill -TERM "$pid" 2>/dev/null || true
        for _ in $(seq 1 $((${2:-10} * 10))); do
            alive "$1" || break
            sleep 0.1
        done
        ! alive "$1" || kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$DIR/pids/$1"
}
