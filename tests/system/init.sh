#!/bin/sh
# /init of the test initramfs. Words of the kernel's command line say what it does, in order, any number of them:
#   mpvm.job=shell     an interactive shell on the console, until it exits; what it does without a word
#   mpvm.job=check     the work of the whole machine, checked on every CPU
#   mpvm.job=forkexec  200 fork+execs, one after the other
#   mpvm.job=kallsyms  the functions in /proc/kallsyms, packed by bzip2 and base64
#   mpvm.job=topology  how the CPUs are arranged, as sysfs has it, a line each
#   mpvm.job=steal     all CPUs compute; then /proc/stat's sum of their times
#   mpvm.job=suspend   suspends to RAM, and is woken by the RTC
#   mpvm.job=none      nothing
#   mpvm.run=NAME,ARG,...  /bin/NAME with these arguments; then a line "run: NAME,ARG,... status N"
#   mpvm.end=reboot    instead of powering off when all jobs are done
# /bin/<applet> is started by its path where a real fork+exec is meant: ash runs some applets in itself.

PATH=/bin
mount -t proc proc /proc
read -r uptime _ < /proc/uptime
echo "init: hello from /init uptime=$uptime"
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs -o size=128m tmp /tmp

FORKS=500
MEBIBYTES=64

count_execs() { # how many: does so many fork+execs, prints how many of them went right
    done=0
    i=0
    while [ $i -lt "$1" ]; do
        i=$((i + 1))
        /bin/true && done=$((done + 1))
    done
    echo $done
}

forks_so_far() { # what the kernel counted since it started
    while read -r name value _; do
        [ "$name" = processes ] && echo "$value"
    done < /proc/stat
}

fail() {
    echo "check: FAILED $*"
    failures=$((failures + 1))
}

on_every_cpu() { # runs the command line pinned on each CPU, all at once; its output goes to /tmp/<CPU>
    waited=
    for cpu in $cpus; do
        taskset -c "$cpu" sh -c "$1" > "/tmp/$cpu" 2>&1 &
        waited="$waited $!"
    done
    for pid in $waited; do
        wait "$pid" || fail "status $? of $1"
    done
}

check() {
    failures=0
    cpus=$(seq 0 $(($(nproc) - 1)))
    echo "check: nproc $(nproc)"

    # Field 39 of stat is the CPU that the process last ran on.
    on_every_cpu 'read -r line < /proc/self/stat; set -- ${line##*) }; echo ${37}'
    for cpu in $cpus; do
        read -r ran_on < "/tmp/$cpu"
        [ "$ran_on" = "$cpu" ] || fail "pinned to CPU $cpu, ran on $ran_on"
        echo "check: taskset $cpu ran on $ran_on"
    done

    before=$(forks_so_far)
    for cpu in $cpus; do
        count_execs $FORKS > "/tmp/$cpu" &
    done
    wait
    forked=$(($(forks_so_far) - before))
    for cpu in $cpus; do
        read -r right < "/tmp/$cpu"
        [ "$right" = $FORKS ] || fail "loop $cpu: $right of $FORKS fork+execs"
        echo "check: forkexec $cpu $right of $FORKS"
    done
    [ $forked -ge $((FORKS * $(nproc))) ] || fail "the kernel counted $forked forks"

    yes "mpvm checks that all CPUs agree" | head -c ${MEBIBYTES}m > /tmp/data
    on_every_cpu 'sha256sum /tmp/data'
    for cpu in $cpus; do
        read -r digest _ < "/tmp/$cpu"
        [ "$digest" = "${first:=$digest}" ] || fail "CPU $cpu: sha256sum $digest, CPU 0: $first"
        echo "check: sha256sum $cpu $digest"
    done
    rm /tmp/data

    [ $failures = 0 ] && echo "check: all right"
}

topology() { # package, die, core and APIC ID of each CPU, the CPUs of its core, and those that share its last cache
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        cd /sys/devices/system/cpu/cpu$cpu
        caches=
        for cache in cache/index*; do
            caches="$caches $(cat $cache/level):$(cat $cache/shared_cpu_list)"
        done
        apic_id=$(grep ^apicid /proc/cpuinfo | sed -n $((cpu + 1))s/.*://p)
        place="$(cat topology/physical_package_id) $(cat topology/die_id) $(cat topology/core_id)"
        echo "topology: $cpu" $place $apic_id $(cat topology/thread_siblings_list) $caches
    done
    cd /
}

steal() { # all CPUs compute for two seconds; then what became of all their time until now, in ticks
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        taskset -c "$cpu" timeout 2 sh -c 'while :; do :; done' &
    done
    wait
    echo "steal: $(sed -n 's/^cpu  *//p' /proc/stat) of $(nproc) CPUs"
}

suspend() { # to RAM (ACPI's S3), until the RTC's alarm; how often that went right, and the CPUs there are then
    before=$(md5sum /bin/busybox)
    echo 0 > /sys/class/rtc/rtc0/wakealarm
    echo +2 > /sys/class/rtc/rtc0/wakealarm
    echo mem > /sys/power/state
    [ "$(md5sum /bin/busybox)" = "$before" ] || echo "suspend: RAM is not what it was"
    echo "suspend: $(cat /sys/power/suspend_stats/success) times, $(nproc) CPUs"
}

run() { # a program with its arguments, commas between them
    (
        IFS=,
        set -f
        exec $1
    )
    echo "run: $1 status $?"
}

end=poweroff
read -r words < /proc/cmdline
case $words in
    *mpvm.job=* | *mpvm.run=*) ;;
    *) words="$words mpvm.job=shell" ;;
esac
for word in $words; do
    case $word in
        mpvm.job=shell) setsid cttyhack sh ;;
        mpvm.job=check) check ;;
        mpvm.job=forkexec) echo "forkexec: $(count_execs 200) of 200" ;;
        mpvm.job=kallsyms) grep -i ' [tw] ' /proc/kallsyms | cut -d ' ' -f 1-3 | bzip2 | base64 ;;
        mpvm.job=topology) topology ;;
        mpvm.job=steal) steal ;;
        mpvm.job=suspend) suspend ;;
        mpvm.job=none) ;;
        mpvm.job=*) echo "init: unknown $word" ;;
        mpvm.run=*) run "${word#mpvm.run=}" ;;
        mpvm.end=*) end=${word#mpvm.end=} ;;
    esac
done
echo "init: $end"
"$end" -f
