#!/bin/sh
# A Slurm cluster of one node in a folder of its own, for the proof that sweeps run there:
#
#   tools/slurm_node.sh start DIR      prints SLURM_CONF=DIR/slurm.conf
#   tools/slurm_node.sh stop DIR
#
# Needs Debian's packages slurm-wlm and munge, and root. Nothing outside DIR is written; the daemons
# are ended by their own pid files. Two jobs at a time: as many as the node has "cards".
set -eu
[ $# = 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
dir=$(mkdir -p "$2" && cd "$2" && pwd)

start() {
  host=$(hostname -s)
  mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
  chmod 711 "$dir" "$dir/munge"
  [ -s "$dir/munge/key" ] || dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 2>/dev/null
  chmod 400 "$dir/munge/key"
  cat > "$dir/slurm.conf" <<CONF
ClusterName=proof
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=60
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=proof Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" \
    --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" 2>>"$dir/munge/said"
  SLURM_CONF=$dir/slurm.conf slurmctld -c
  SLURM_CONF=$dir/slurm.conf slurmd
  i=0
  until SLURM_CONF=$dir/slurm.conf sinfo -h -o %T 2>/dev/null | grep -q -E 'idle|mixed'; do
    i=$((i + 1)); [ $i -lt 60 ] || { tail -5 "$dir"/*.log >&2; stop; exit 1; }
    sleep 0.5
  done
  echo "SLURM_CONF=$dir/slurm.conf"
}

stop() {  # jobs first, which would outlive the daemons; then these, each with ten seconds
  export SLURM_CONF="$dir/slurm.conf"
  i=0
  while [ $i -lt 40 ] && squeue -h 2>/dev/null | grep -q .; do
    [ $((i % 10)) -ne 0 ] || squeue -h -o %A | xargs scancel 2>/dev/null || true
    i=$((i + 1))
    sleep 0.5
  done
  for file in "$dir/slurmd.pid" "$dir/slurmctld.pid" "$dir/munge/pid"; do
    pid=$(cat "$file" 2>/dev/null) || continue
    i=0
    kill "$pid" 2>/dev/null || continue
    while kill -0 "$pid" 2>/dev/null; do
      i=$((i + 1)); [ $i -lt 50 ] || kill -9 "$pid" 2>/dev/null || true
      sleep 0.2
    done
  done
}

case $1 in start) start ;; stop) stop ;; *) exit 2 ;; esac
