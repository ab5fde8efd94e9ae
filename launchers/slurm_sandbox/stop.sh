#!/usr/bin/env bash
# Stop the daemons that start.sh started, and the processes that jobs have left running. The directory is kept;
# without it, start.sh makes a new cluster.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"
[[ -d $DIR/pids ]] || { say "there is no cluster in $DIR"; exit 0; }
export SLURM_CONF=$DIR/slurm.conf

# Print the processes of this cluster's jobs. A slurmstepd leaves the group of its slurmd and clears its
# environment, but keeps our log open. The processes that it starts have our SLURM_CONF and a job id in their
# environment.
job_processes() {
    local p
    for p in /proc/[0-9]*; do
        [[ ${p#/proc/} != "$$" ]] || continue
        if [[ $(readlink "$p/exe" 2>/dev/null) == */slurmstepd* ]]; then
            ! readlink "$p"/fd/* 2>/dev/null | grep -qF "$DIR/log/slurmd-" || echo "${p#/proc/}"
        elif tr '\0' '\n' 2>/dev/null <"$p/environ" | grep -qxF "SLURM_CONF=$SLURM_CONF" &&
            tr '\0' '\n' 2>/dev/null <"$p/environ" | grep -q '^SLURM_JOB_ID='; then
            echo "${p#/proc/}"
        fi
    done
}

if alive slurmctld; then
    timeout 10 scancel --full --user="$(id -un)" 2>/dev/null
    for _ in $(seq 1 100); do
        [[ -n $(job_processes) ]] || break
        sleep 0.1
    done
fi
for file in "$DIR"/pids/slurmd-*; do
    [[ ! -e $file ]] || end "$(basename "$file")"
done
left=$(job_processes)
# shellcheck disable=SC2086
[[ -z $left ]] || kill -KILL $left 2>/dev/null
end slurmctld 20
end slurmdbd 20
end mariadbd 30
end munged
[[ $(readlink /etc/slurm/slurm.conf 2>/dev/null) != "$DIR/slurm.conf" ]] || rm -f /etc/slurm/slurm.conf
say "the cluster is stopped"
