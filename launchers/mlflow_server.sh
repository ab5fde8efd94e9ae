#!/usr/bin/env bash
# An MLflow server for many runs at once, from several machines. A database file on a shared file system locks
# up under a cluster; a server does not.
#
#   launchers/mlflow_server.sh [--dir DIR] [--host HOST] [--port PORT] [--workers N] [--backend URI]
#
#   --dir      database, artifacts, password                (default ./mlflow-server)
#   --host     network interface                            (default 127.0.0.1: this machine alone)
#   --port                                                  (default 5000)
#   --workers  server processes                             (default 4)
#   --backend  e.g. postgresql://user@host/mlflow           (default: an SQLite file in DIR, good for ~40 writers)
#
# On any other interface than loopback the server asks for a password: one is made at the first start, in
# DIR/password, readable by you alone. On the machines that train:
#
#   export MLFLOW_TRACKING_URI=http://HOST:PORT MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=...
#   python -m mergerexp.train -m tracking=server ...
#
# It runs in the foreground until Ctrl-C; a run that finds it down goes on, and its record is completed later.
set -euo pipefail

dir=./mlflow-server host=127.0.0.1 port=5000 workers=4 backend=''
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
        *) [[ $# -ge 2 ]] || { echo "$1 needs a value, see --help" >&2; exit 2; } ;;
    esac
    case $1 in
        --dir) dir=$2 ;;
        --host) host=$2 ;;
        --port) port=$2 ;;
        --workers) workers=$2 ;;
        --backend) backend=$2 ;;
        *) echo "$1: unknown option, see --help" >&2; exit 2 ;;
    esac
    shift 2
done
command -v mlflow >/dev/null || { echo "mlflow is not on the PATH: activate the environment first" >&2; exit 2; }
umask 077
mkdir -p "$dir/artifacts"
dir=$(cd "$dir" && pwd)
backend=${backend:-sqlite:///$dir/mlflow.db}

export MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # its own job queue, which costs memory and serves nothing here
options=(--host "$host" --port "$port" --workers "$workers"
    --backend-store-uri "$backend" --artifacts-destination "$dir/artifacts")

case $host in
    127.* | localhost | ::1) ;;
    *)
        python -c 'import flask_wtf' 2>/dev/null ||
            { echo "a server with a password needs: pip install 'mergerexp[server]'" >&2; exit 2; }
        secret() { python -c 'import secrets; print(secrets.token_urlsafe(24))'; }
        [[ -s $dir/password ]] || secret >"$dir/password"
        [[ -s $dir/session-key ]] || secret >"$dir/session-key"
        cat >"$dir/auth.ini" <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///$dir/auth.db
admin_username = admin
admin_password = $(cat "$dir/password")
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
        export MLFLOW_AUTH_CONFIG_PATH=$dir/auth.ini
        MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$dir/session-key")
        export MLFLOW_FLASK_SERVER_SECRET_KEY
        options+=(--app-name basic-auth --allowed-hosts "$host:$port,$(hostname -f):$port,$(hostname -s):$port,localhost:$port,127.0.0.1:$port")
        echo "user admin, password in $dir/password"
        ;;
esac
echo "MLflow on http://$host:$port, everything in $dir"
exec mlflow server "${options[@]}"
