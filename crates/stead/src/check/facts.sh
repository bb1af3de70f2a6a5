# What a host is and has, as lines of `key=value`. It writes nothing and needs nothing: what a tool
# would have to tell that is not there is left out. Arguments: how sudo went, the root, then what is
# asked for, each behind its kind.
set -f
umask 077
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin:/usr/local/bin
export LC_ALL PATH
sudo=$1 root=$2
shift 2

say() { [ -n "$2" ] && printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }
# Some files of /proc give all at the first look or nothing, and a shell looks byte by byte.
whole() { [ -r "$1" ] && cat "$1" 2>/dev/null; }

echo stead-facts
# Asked for and answered at once: half of the time between the two bounds the error.
echo stead-clock
read -r go || exit 0
now=$(date +%s.%N 2>/dev/null)
case $now in
  *[!0-9.]* | *. | '') now=$(date +%s) ;;
esac
say clock "$now"

uid=$(id -u)
say uid "$uid"
say login "$(id -un 2>/dev/null)"
say sudo "$sudo"
say system "$(uname -s)"
say kernel "$(uname -r)"
say machine "$(uname -m)"
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || cores=$(nproc 2>/dev/null)
say cores "$cores"

synced() {
  [ -e /run/systemd/timesync/synchronized ] && return
  if has timedatectl; then
    [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null)" = yes ] && return
  fi
  if has chronyc; then
    chronyc -n tracking 2>/dev/null | grep -q '^Leap status *: Normal' && return
  fi
  for daemon in chronyd ntpd ntpsec openntpd; do
    has pidof && pidof "$daemon" >/dev/null 2>&1 && return
  done
  return 1
}
if synced; then say synced yes; else say synced no; fi
has timedatectl && [ -d /run/systemd/system ] && say timedatectl yes

if [ -r /proc/meminfo ]; then
  while read -r key kib unit; do
    case $key in
      MemTotal:) say memory_kib "$kib" ;;
      MemAvailable:) say available_kib "$kib" ;;
      SwapTotal:) say swap_kib "$kib" ;;
    esac
  done </proc/meminfo
fi

if [ -z "$root" ]; then
  if [ "$uid" = 0 ]; then root=/var/lib/stead
  else root=${XDG_STATE_HOME:-$HOME/.local/state}/stead; fi
fi
say root "$root"
stands=$root
while [ ! -e "$stands" ] && [ "${stands%/*}" != "$stands" ]; do
  stands=${stands%/*}
  [ -n "$stands" ] || stands=/
done
real=$(cd -P -- "$stands" 2>/dev/null && pwd -P)
[ -n "$real" ] || real=$stands
[ "$stands" = "$root" ] && own=$real
if [ ! -d "$stands" ]; then say root_state blocked
elif [ "$stands" = "$root" ]; then
  if [ -w "$root" ] && [ -x "$root" ]; then say root_state writable; else say root_state closed; fi
elif [ -w "$stands" ] && [ -x "$stands" ]; then say root_state absent
else say root_state forbidden; fi
say root_on "$stands"

df -Pk -- "$real" 2>/dev/null | {
  read -r heading
  read -r device blocks used free rest && say disk_free_kib "$free"
}
df -Pi -- "$real" 2>/dev/null | {
  read -r heading
  read -r device inodes used free rest && say inodes "$inodes $free"
}

mounted() {
  dev=$3 at=$5 options=$6
  shift 6
  while [ $# -gt 0 ] && [ "$1" != - ]; do shift; done
  fs=$2
}
longest=-1
if [ -r /proc/self/mountinfo ]; then
  while read -r line; do
    mounted $line
    above=${at%/}
    case ${real%/}/ in
      "$above"/*)
        if [ ${#at} -ge $longest ]; then
          longest=${#at} best_dev=$dev best_at=$at best_options=$options best_fs=$fs
        fi
        ;;
    esac
  done </proc/self/mountinfo
  say mount_point "$best_at"
  say mount_options "$best_options"
  say file_system "$best_fs"
fi
if [ -n "$best_dev" ]; then
  for queue in "/sys/dev/block/$best_dev/queue" "/sys/dev/block/$best_dev/../queue"; do
    if [ -r "$queue/rotational" ]; then
      say rotational "$(whole "$queue/rotational")"
      break
    fi
  done
fi

# Ports that are listened at, of those asked for; then who has them, where that may be read.
ports=' '
for asked; do
  case $asked in port:*) ports="$ports${asked#port:} " ;; esac
done
listeners=
listening() {
  while read -r slot local remote state queues timer retries owner timeout inode rest; do
    [ "$state" = 0A ] || continue
    port=$((0x${local##*:}))
    case $ports in *" $port "*) ;; *) continue ;; esac
    case ${local%:*} in
      00000000 | 00000000000000000000000000000000) where=any ;;
      *) where=one ;;
    esac
    listeners="$listeners $port:$where:$inode"
  done
}
for table in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$table" ] && listening <"$table"
done
# Each of these sockets with a process that has it open.
holders() {
  wanted=
  for listener in $listeners; do wanted="$wanted -e socket:[${listener##*:}]"; done
  set +f
  ls -l /proc/[0-9]*/fd 2>/dev/null | {
    set -f
    grep -F -e /proc/ $wanted
  } | while read -r line; do
    case $line in
      /proc/*) line=${line#/proc/} pid=${line%%/*} ;;
      *) line=${line##*socket:[} && printf '%s ' "${line%]}:$pid" ;;
    esac
  done
}
[ -n "$listeners" ] && held=" $(holders)" && set -f
# It is ours if a program of this root is it, or an ancestor of it.
ours() {
  above=$1 depth=0
  while [ "${above:-0}" -gt 1 ] && [ $depth -lt 64 ]; do
    depth=$((depth + 1))
    program=$(readlink "/proc/$above/exe" 2>/dev/null)
    if [ -n "$program" ]; then
      [ -n "$own" ] && case $program in "$own"/kit/* | "$own"/programs/*) return 0 ;; esac
    elif [ -n "$own" ]; then
      case $(whole "/proc/$above/comm") in stead-keeper | stead-front) return 0 ;; esac
    fi
    next=
    while read -r key value; do
      [ "$key" = PPid: ] && next=$value && break
    done 2>/dev/null <"/proc/$above/status"
    above=$next
  done
  return 1
}
for listener in $listeners; do
  port=${listener%%:*} inode=${listener##*:} where=${listener#*:} where=${where%:*}
  pid=
  case $held in
    *" $inode:"*) pid=${held#*" $inode:"} pid=${pid%% *} ;;
  esac
  if [ -z "$pid" ]; then say listen "$port $where unknown 0 -"
  elif ours "$pid"; then say listen "$port $where own $pid $(whole "/proc/$pid/comm")"
  else say listen "$port $where other $pid $(whole "/proc/$pid/comm")"; fi
done

known() {
  getent "$1" "$2" >/dev/null 2>&1 && return
  [ -r "/etc/$1" ] || return 1
  while IFS=: read -r name rest; do
    [ "$name" = "$2" ] && return
  done <"/etc/$1"
  return 1
}
for asked; do
  what=${asked#*:}
  case $asked in
    user:*) if known passwd "$what"; then say user "$what"; else say no_user "$what"; fi ;;
    group:*) if known group "$what"; then say group "$what"; else say no_group "$what"; fi ;;
    path:*) if [ -e "$what" ]; then say path "$what"; else say no_path "$what"; fi ;;
  esac
done

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || glibc=
case $glibc in
  'glibc '*) say glibc "${glibc#glibc }" ;;
  *)
    if has ldd; then
      told=$(ldd --version 2>&1)
      case $told in
        *musl*) say musl yes ;;
        *GLIBC* | *'GNU libc'*)
          told=$(printf '%s\n' "$told" | { read -r line; printf %s "${line##* }"; })
          say glibc "$told"
          ;;
      esac
    fi
    ;;
esac

for name in fs.file-max fs.nr_open net.core.somaxconn vm.max_map_count kernel.pid_max \
  net.ipv4.ip_unprivileged_port_start; do
  say "$name" "$(whole "/proc/sys/$(printf %s "$name" | tr . /)")"
done
say local_ports "$(whole /proc/sys/net/ipv4/ip_local_port_range)"
reserved=$(whole /proc/sys/net/ipv4/ip_local_reserved_ports)
say reserved_ports "$reserved"
say files_hard "$(ulimit -H -n 2>/dev/null)"

if [ -r /sys/fs/cgroup/cgroup.controllers ]; then
  say cgroup "v2 $(whole /sys/fs/cgroup/cgroup.controllers)"
  [ -w /sys/fs/cgroup/cgroup.subtree_control ] && say cgroup_writable yes
fi

enforcing=$(getenforce 2>/dev/null) || enforcing=
if [ -z "$enforcing" ] && [ -r /sys/fs/selinux/enforce ]; then
  case $(whole /sys/fs/selinux/enforce) in 1) enforcing=Enforcing ;; *) enforcing=Permissive ;; esac
fi
say selinux "$enforcing"
say apparmor "$(whole /sys/module/apparmor/parameters/enabled)"

if [ -d /run/systemd/system ] && has systemctl; then
  systemctl --version 2>/dev/null | { read -r word version rest && say systemd "$version"; }
fi
thp=/sys/kernel/mm/transparent_hugepage/enabled
if [ -r "$thp" ]; then
  choices=$(whole "$thp")
  choice=${choices#*[}
  say hugepages "${choice%%]*}"
fi
echo stead-end
