# Runs a static test program as the suite of a machine with Debian's own kernel: `run.sh PROGRAM FOLDER`.
#
# The machine is QEMU's, without hardware support, and so ten times slower. It has control groups of version 2, the
# Landlock of that kernel, and no network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=$1 folder=$2
mkdir -p "$folder" && cd "$folder"
rm -rf kernel files && mkdir kernel files
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
ls "$package"_*.deb >/dev/null 2>&1 || apt-get download -q "$package"
dpkg-deb -x "$package"_*.deb kernel
version=$(ls kernel/lib/modules)

cd files
mkdir -p new usr/bin usr/lib/modules proc sys dev tmp run home root etc
ln -s usr/bin bin
ln -s usr/bin sbin
ln -s usr/lib lib
cp "$(command -v busybox)" usr/bin/busybox
for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "usr/bin/$name"; done
cp -a "../kernel/lib/modules/$version" usr/lib/modules/
for unused in sound drivers/net drivers/gpu drivers/infiniband drivers/scsi; do
  rm -rf "usr/lib/modules/$version/kernel/$unused"
done
depmod -b usr "$version"
strip -o usr/bin/native "$program"
printf 'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n' > etc/passwd
printf 'root:x:0:\nuser:x:1000:\n' > etc/group
cp "$here/init" init
chmod 755 init
find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > ../files.gz
cd ..

rm -f disk
truncate -s 1G disk
mkfs.ext4 -q -F disk
# Without it a machine that is not quiet hangs at its start.
clock=$(awk '/cpu MHz/ { printf "%d", $4 * 1000; exit }' /proc/cpuinfo)
timeout 1800 qemu-system-x86_64 -M q35 -cpu max -smp 2 -m 4G -nographic -no-reboot -net none \
  -kernel "kernel/boot/vmlinuz-$version" -initrd files.gz -drive file=disk,format=raw,if=virtio \
  -append "console=ttyS0 quiet panic=-1 tsc_early_khz=$clock" < /dev/null | tee log
grep -q '^the suite ended with 0 and 0' log
