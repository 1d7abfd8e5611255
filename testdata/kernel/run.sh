#!/bin/sh
# What the VM runs: three hosts, 80 and 200 ms away from the first, an engine for the one who looks after them, and the
# tests. The last line of the console says how they ended.
export PATH="/host:$PATH" HOME=/root
cp /host/skep /usr/local/bin/skep
mkdir -p /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys # the hosts see it, too

ip link add br0 type bridge
ip addr add 10.77.0.1/24 dev br0
ip link set br0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables
for n in 1 2 3; do
  ip netns add h$n
  ip link add v$n type veth peer name eth0 netns h$n
  ip link set v$n master br0 up
  ip -n h$n link set lo up
  ip -n h$n addr add 10.77.0.1$n/24 dev eth0
  ip -n h$n link set eth0 up
  ip -n h$n route add default via 10.77.0.1
  ip netns exec h$n sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv4/vs/conntrack'
  nsenter --net=/run/netns/h$n unshare -m -u --propagation private sh /host/host.sh $n >/tmp/host$n.log 2>&1 &
done
ip netns exec h2 tc qdisc add dev eth0 root netem delay 80ms
ip netns exec h3 tc qdisc add dev eth0 root netem delay 200ms
dockerd >/tmp/dockerd.log 2>&1 &

# patiently COMMAND… tries it until it succeeds, for two minutes.
patiently() {
  tries=0
  until "$@" >/tmp/last.log 2>&1; do
    tries=$((tries + 1))
    if [ $tries = 120 ]; then
      echo "it never succeeded: $*"
      tail -n 5 /tmp/last.log /tmp/host?.log /tmp/dockerd.log
      exit 1
    fi
    sleep 1
  done
}
patiently docker version
for file in /host/*.tar; do patiently docker load -q -i "$file"; done
for n in 1 2 3; do
  patiently ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=5 10.77.0.1$n docker version
done
echo "hosts are up after $(cut -d. -f1 /proc/uptime) s"
# shellcheck disable=SC2046 # several words are meant
/host/kernel.test -test.v -test.timeout 1h $(cat /host/flags)
echo "kernel tests ended with $?"
