#!/bin/sh
# node.sh FOLDER PROGRAM: runs PROGRAM as if alone on a machine: this machine's files, with changes kept in memory, in namespaces of
# its own. Run by `unshare` with new mount, process, network, IPC and host name namespaces.
set -e
folder=$1 program=$2
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
# Docker's layers cannot lie on an overlay.
mkdir -p var/lib/system-docker var/lib/rancher/conf usr/share/ros run/program run/old
mount -t tmpfs tmpfs var/lib/system-docker
[ -L var/run ] || { rm -rf var/run && ln -s /run var/run; }
# The program may be on another file system than the root.
mount --bind "$(dirname "$program")" run/program
pivot_root . run/old
cd /
umount -l /run/old
ip link set lo up 2>/dev/null || :
exec "/run/program/$(basename "$program")" inside
