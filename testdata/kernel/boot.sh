#!/bin/bash
# Boots the VM that build.sh made and prints its console: boot.sh DIR. It ends with the VM's run.sh, or after $SECONDS_AT_MOST.
set -euo pipefail
cd "${1:?usage: boot.sh DIR}"
exec timeout "${SECONDS_AT_MOST:-900}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 8192 -nographic -no-reboot \
  -kernel vmlinuz -initrd ir.gz -append "console=ttyS0 panic=-1 quiet mitigations=off" \
  -drive file=root.ext4,if=virtio,format=raw,snapshot=on,cache=unsafe \
  -fsdev "local,id=share,path=$PWD/share,security_model=none" -device virtio-9p-pci,fsdev=share,mount_tag=host \
  -nic none </dev/null
