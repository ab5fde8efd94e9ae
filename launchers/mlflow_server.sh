#!/usr/bin/env bash
# Start an MLflow server, which many runs on several machines can use at once. A database file on a shared file
# system may lock up when the jobs of a cluster use it.
#
#   launchers/mlflow_server.sh [--dir DIR] [--host HOST] [--port PORT] [--workers N] [--backend URI]
#
#   --dir      folder for database, artifacts, password     (default ./mlflow-server)
#   --host     network interface                            (default 127.0.0.1, for this machine alone)
#   --port     TCP port                                     (default 5000)
#   --workers  number of server processes                   (default 4)
#   --backend  database, e.g. postgresql://user@host/mlflow (default: an SQLite file in DIR, for up to 40 runs)
#
# On any other interface than loopback the server asks for a password. It is made at the first start, in the
# file DIR/password, which only you can read. On the machines that train:
#
#   export MLFLOW_TRACKING_URI=http://HOST:PORT MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=...
#   python -m mergerexp.train -m tracking=server ...
#
# The server runs in the foreground until Ctrl-C. While it is down, runs go on; their records are completed
# later.
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
command -v mlflow >/dev/null || { echo "the command mlflow is not on the PATH: activate the environment first" >&2; exit 2; }
python - "$host" "$port" <<'PYTHON' || exit 1
import socket, sys

host, port = sys.argv[1:]
try:
    if not 0 < int(port) < 65536:
        raise ValueError("a port is a number up to 65535")
    family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
except (OSError, OverflowError, ValueError) as error:
    why = getattr(error, "strerror", None) or error
    sys.exit(f"port {port} of {host} can't be used ({why}): stop what uses it, or choose others with --port and --host")
PYTHON
umask 077
mkdir -p "$dir/artifacts"
dir=$(cd "$dir" && pwd)
# SQLAlchemy takes an address apart and unquotes it: a folder may be called a%20b.
address() { python -c 'import sys, sqlalchemy as s; print(s.URL.create("sqlite+pysqlite", database=sys.argv[1]))' "$1"; }
backend=${backend:-$(address "$dir/mlflow.db")}

export MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # MLflow's own job queue takes memory and is not needed
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
        users=$(address "$dir/auth.db")
        cat >"$dir/auth.ini" <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = ${users//%/%%}
admin_username = admin
admin_password = $(cat "$dir/password")
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
        export MLFLOW_AUTH_CONFIG_PATH=$dir/auth.ini
        MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$dir/session-key")
        export MLFLOW_FLASK_SERVER_SECRET_KEY
        options+=(--app-name basic-auth --allowed-hosts "$host:$port,$(hostname -f):$port,$(hostname -s):$port,localhost:$port,127.0.0.1:$port")
        echo "the user is admin, the password is in $dir/password"
        ;;
esac
echo "MLflow runs on http://$host:$port and keeps everything in $dir"
exec mlflow server "${options[@]}"
