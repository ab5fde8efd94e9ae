#!/usr/bin/env bash
# Start a real Slurm cluster on this machine, as root on Debian, with several nodes, preemption, accounting and
# imitations of GPUs. README.md lists the variables that can be set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

NODES=${SLURM_SANDBOX_NODES:-4}
CPUS=${SLURM_SANDBOX_CPUS:-8}
GPUS=${SLURM_SANDBOX_GPUS:-2}
MEM=${SLURM_SANDBOX_MEM:-8000}
PORT=${SLURM_SANDBOX_PORT:-16810}
KILL_WAIT=${SLURM_SANDBOX_KILL_WAIT:-3}
REQUEUE_DELAY=${SLURM_SANDBOX_REQUEUE_DELAY:-8}
GRACE=${SLURM_SANDBOX_GRACE:-20}
PREEMPT_SIGNAL=${SLURM_SANDBOX_PREEMPT_SIGNAL:-1}
PREEMPT_MODE=${SLURM_SANDBOX_PREEMPT_MODE:-REQUEUE}
JOB_REQUEUE=${SLURM_SANDBOX_JOB_REQUEUE:-1}
ACCOUNTING=${SLURM_SANDBOX_ACCOUNTING:-1}
OOM=${SLURM_SANDBOX_OOM:-0}
CTLD_PORT=$PORT DBD_PORT=$((PORT + 1)) SQL_PORT=$((PORT + 2)) NODE_PORT=$((PORT + 10))

install_packages() {
    local missing=() pair
    local wanted=(slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge)
    [[ $ACCOUNTING == 0 ]] || wanted+=(slurmdbd:slurmdbd mariadbd:mariadb-server-core mariadb:mariadb-client-core)
    for pair in "${wanted[@]}"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || cannot "the Debian packages ${missing[*]} are needed, and there is no apt-get"
    say "installing ${missing[*]}"
    local policy=/usr/sbin/policy-rc.d log made=0 failed=0
    log=$(mktemp)
    if [[ ! -e $policy ]]; then # so that the installation starts no daemon
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
    fi
    { apt-get update && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || failed=1
    [[ $made == 0 ]] || rm -f $policy
    [[ $failed == 0 ]] || { tail -n 20 "$log" >&2; cannot "apt-get failed; its log is $log"; }
    rm -f "$log"
}

daemons() {
    echo munged
    [[ $ACCOUNTING == 0 ]] || printf '%s\n' mariadbd slurmdbd
    echo slurmctld
    seq -f 'slurmd-node%g' 1 "$NODES"
}

write_gpus() { # imitate GPUs by links to /dev/null, since Slurm requires character devices
    : >"$DIR/gres.conf"
    [[ $GPUS -gt 0 ]] || return 0
    local g
    for g in $(seq 0 $((GPUS - 1))); do ln -sfn /dev/null "$DIR/dev/nvidia$g"; done
    echo "AutoDetect=off" >"$DIR/gres.conf"
    for g in $(seq 0 $((GPUS - 1))); do
        echo "NodeName=$(node_range) Name=gpu File=$DIR/dev/nvidia$g" >>"$DIR/gres.conf"
    done
}

node_range() { if [[ $NODES -gt 1 ]]; then echo "node[1-$NODES]"; else echo node1; fi; }
port_range() { if [[ $NODES -gt 1 ]]; then echo "[$NODE_PORT-$((NODE_PORT + NODES - 1))]"; else echo "$NODE_PORT"; fi; }

write_slurm_conf() {
    local host
    host=$(hostname -s)
    {
        cat <<CONF
ClusterName=sandbox
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$CTLD_PORT
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it may start again (120 s by default). It has to be
# more than KillWait + 3: otherwise the failure of a node leads to "Duplicate jobid", a drained node and a held
# job.
AuthInfo=socket=$DIR/munge/socket,cred_expire=$REQUEUE_DELAY
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd-%n.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
# there are neither cgroups nor systemd here, and nodes claim to have more than the machine has
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
ReturnToService=2
# listen on loopback only
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
JobRequeue=$JOB_REQUEUE
KillWait=$KILL_WAIT
MinJobAge=3600
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
CONF
        [[ $PREEMPT_SIGNAL == 0 ]] || echo "SlurmctldParameters=preempt_send_user_signal"
        [[ $GPUS == 0 ]] || echo "GresTypes=gpu"
        if [[ $ACCOUNTING == 1 ]]; then
            cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$DBD_PORT
AccountingStoragePass=$DIR/munge/socket
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
CONF
            [[ $OOM == 0 ]] || echo "JobAcctGatherParams=OverMemoryKill"
        fi
        local gres=''
        [[ $GPUS == 0 ]] || gres="Gres=gpu:$GPUS"
        cat <<CONF
NodeName=$(node_range) NodeHostname=$host NodeAddr=127.0.0.1 Port=$(port_range) CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM $gres State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES DefaultTime=10 MaxTime=INFINITE PriorityTier=1 PreemptMode=$PREEMPT_MODE GraceTime=$GRACE State=UP
PartitionName=urgent Nodes=ALL Default=NO DefaultTime=10 MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP
CONF
    } >"$DIR/slurm.conf"
    echo 'CgroupPlugin=cgroup/v1' >"$DIR/cgroup.conf"
    echo "export SLURM_CONF=$DIR/slurm.conf" >"$DIR/env.sh"
}

write_slurmdbd_conf() {
    (umask 077 && cat >"$DIR/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
SlurmUser=root
PidFile=$DIR/run/slurmdbd.pid
LogFile=$DIR/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$SQL_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
    )
}

start_munge() {
    [[ -s $DIR/munge/key ]] || (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge/key")
    rm -f "$DIR/munge/socket" "$DIR/munge/socket.lock"
    launch munged munged --foreground --force --socket="$DIR/munge/socket" --key-file="$DIR/munge/key" \
        --pid-file="$DIR/run/munged.pid" --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/seed"
    wait_for 10 munged munge -n --socket="$DIR/munge/socket"
}

start_accounting() {
    local sql=(mariadb --no-defaults --socket="$DIR/run/sql.sock")
    if [[ ! -d $DIR/mysql/mysql ]]; then
        rm -rf "$DIR/mysql"
        mariadb-install-db --no-defaults --user=root --datadir="$DIR/mysql" --skip-test-db \
            --auth-root-authentication-method=socket >"$DIR/log/mariadb-install.out" 2>&1 ||
            die "the accounting database can't be created: see $DIR/log/mariadb-install.out"
    fi
    rm -f "$DIR/run/sql.sock"
    launch mariadbd mariadbd --no-defaults --user=root --datadir="$DIR/mysql" --socket="$DIR/run/sql.sock" \
        --pid-file="$DIR/run/mariadbd.pid" --bind-address=127.0.0.1 --port=$SQL_PORT --skip-name-resolve \
        --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900
    wait_for 60 mariadbd "${sql[@]}" -e 'select 1'
    "${sql[@]}" -e "create database if not exists slurm_acct_db;
        create user if not exists slurm@'127.0.0.1' identified by 'slurm';
        grant all on slurm_acct_db.* to slurm@'127.0.0.1';"
    launch slurmdbd slurmdbd -D
    wait_for 60 slurmdbd sacctmgr -n show cluster
    sacctmgr -n show cluster format=cluster | grep -qw sandbox ||
        sacctmgr -i add cluster sandbox >"$DIR/log/sacctmgr.out" 2>&1
}

start_nodes() {
    local i
    launch slurmctld slurmctld -D -i
    wait_for 30 slurmctld sh -c 'scontrol ping | grep -qw UP'
    for i in $(seq 1 "$NODES"); do launch "slurmd-node$i" slurmd -D -N "node$i"; done
    for i in $(seq 1 "$NODES"); do wait_for 60 "slurmd-node$i" test -e "$DIR/run/slurmd-node$i.pid"; done
    sinfo -h -N -p main -o '%N %T' | awk '$2 ~ /^drain/ { print $1 }' | while read -r i; do
        scontrol update NodeName="$i" State=RESUME || true # a drained node is still drained after a restart
    done
    wait_for 60 slurmctld all_nodes_up
}

all_nodes_up() {
    [[ $(sinfo -h -N -p main -o '%N %T' | grep -cE ' (idle|mixed|allocated|completing)$') == "$NODES" ]]
}

[[ $(id -u) == 0 ]] || cannot "start.sh must be run as root"
install_packages
up=0 all=0
for name in $(daemons); do
    all=$((all + 1))
    ! alive "$name" || up=$((up + 1))
done
export SLURM_CONF=$DIR/slurm.conf
if [[ $up == "$all" ]]; then
    say "the cluster is up already"
else
    [[ $up == 0 ]] || "$here/stop.sh" # some daemons are missing, so all are started anew
    umask 022
    mkdir -p "$DIR"/{pids,log,run,state,spool,dev,munge}
    for i in $(seq 1 "$NODES"); do mkdir -p "$DIR/spool/node$i"; done
    write_gpus
    write_slurm_conf
    # submitit runs some commands without SLURM_CONF. If there is no other Slurm, the sandbox becomes the default.
    if [[ ! -e /etc/slurm/slurm.conf ]]; then
        mkdir -p /etc/slurm && ln -sfn "$DIR/slurm.conf" /etc/slurm/slurm.conf
    fi
    start_munge
    if [[ $ACCOUNTING == 1 ]]; then
        write_slurmdbd_conf
        start_accounting
    fi
    start_nodes
    say "$NODES nodes are up"
fi
say "to use the cluster:  . $DIR/env.sh"
sinfo
