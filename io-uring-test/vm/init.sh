#!/bin/busybox sh
# Init of the guest. The output of the programs, their exit statuses and the report each go to the host
# through a virtio port of their own. Only the kernel and this script write to the console.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
/bin/busybox mkdir -p /sbin /usr/bin /usr/sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/hugepages /mnt/disk
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
mount -t hugetlbfs hugetlbfs /dev/hugepages 2>/dev/null

while read -r module; do
    insmod "/vm/modules/$module.ko" || echo "init: cannot load module $module"
done </vm/modules/order

# await SECONDS COMMAND...: retries the command until it succeeds or the time is up. Devices appear some
# time after their drivers are loaded.
await() {
    n=$(($1 * 20))
    shift
    until "$@"; do
        n=$((n - 1))
        [ $n -gt 0 ] || return 1
        usleep 50000
    done
}
port() {
    for d in /sys/class/virtio-ports/*; do
        [ "$(cat "$d/name" 2>/dev/null)" = "$1" ] && [ -c "/dev/${d##*/}" ] && echo "/dev/${d##*/}" && return
    done
    return 1
}
ports() {
    output=$(port output) && status=$(port status) && report=$(port report)
}
await 30 ports || { echo "init: the virtio ports did not appear"; poweroff -f; }
exec 5>"$output" 6>"$status" 7>"$report"
fatal() {
    echo "fatal $*" >&6
    poweroff -f
    sleep 60
}

ip link set lo up || ifconfig lo 127.0.0.1 up
hostname vm
[ ! -e /proc/sys/kernel/io_uring_disabled ] || echo 0 >/proc/sys/kernel/io_uring_disabled
await 10 [ -b /dev/vda ] || fatal "/dev/vda did not appear"
mount -t "$(cat /vm/filesystem)" /dev/vda /mnt/disk || fatal "cannot mount the disk"
ulimit -H -n 524288
ulimit -S -n 1024
export HOME=/root USER=root TMPDIR=/mnt/disk TERM=dumb
# Property tests are slow on an emulated processor.
export PROPTEST_CASES=8
cd /mnt/disk || fatal "cannot enter /mnt/disk"
echo "boot $(uname -r) $(cut -d' ' -f1 /proc/uptime)" >&6

# run NAME PROGRAM ARGUMENTS...: runs a program and reports its exit status under this name.
run() {
    name=$1
    shift
    echo "init: $name starts"
    "$@" </dev/null >&5 2>&5 5>&- 6>&- 7>&-
    echo "ended $name $?" >&6
}
. /vm/run
echo "init: all has run"
[ ! -e /tmp/report ] || cat /tmp/report >&7
echo end >&6
poweroff -f
sleep 60
