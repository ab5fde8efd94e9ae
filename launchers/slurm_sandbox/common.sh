# The settings of the sandbox, and functions that start and stop its daemons; start.sh and stop.sh source this.

# Everything is written below DIR. Its path is short because that of a Unix socket has at most 107 characters.
DIR=${SLURM_SANDBOX_DIR:-/tmp/slurm-sandbox}
export PATH=$PATH:/usr/sbin:/sbin

say() { echo "slurm sandbox: $*"; }
cannot() { say "$*" >&2; exit 77; } # for a machine that can't run the sandbox; other errors are failures
die() { say "$*" >&2; exit 1; }

[[ $DIR == /?* ]] || die "SLURM_SANDBOX_DIR=$DIR: has to be an absolute path"
[[ ${#DIR} -le 70 ]] || die "SLURM_SANDBOX_DIR=$DIR: is too long for Unix sockets, use at most 70 characters"

# A process is identified by its pid and its start time, since the system may give its pid to another one later.
started_at() { awk '{ sub(/^.*\) /, ""); if ($1 != "Z") print $20 }' "/proc/$1/stat" 2>/dev/null || true; }

alive() { # name
    local pid start
    [[ -s $DIR/pids/$1 ]] || return 1
    read -r pid start <"$DIR/pids/$1"
    [[ -n ${start:-} && $(started_at "$pid") == "$start" ]]
}

launch() { # name command...: start a daemon, in its foreground mode and in a session of its own
    local name=$1 pid
    shift
    setsid "$@" >"$DIR/log/$name.out" 2>&1 </dev/null &
    pid=$!
    sleep 0.05
    echo "$pid $(started_at "$pid")" >"$DIR/pids/$name"
}

wait_for() { # seconds name command...: wait until the command succeeds; fail if the daemon ends before
    local name=$2 end=$(($(date +%s) + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! alive "$name" || [[ $(date +%s) -ge $end ]]; then
            tail -n 20 "$DIR/log/$name"* >&2 || true
            die "$name does not start; its logs are in $DIR/log"
        fi
        sleep 0.1
    done
}

end() { # name [seconds]: send SIGTERM to a daemon, and SIGKILL if it is still there after the seconds
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
