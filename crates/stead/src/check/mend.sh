# Mends what it is told of and nothing else: `group:NAME`, `user:NAME`, `sysctl:KEY=VALUE` and
# `time-sync`. What is so already stays. Says of each whether it is done, or why it is not.
umask 022
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin:/usr/local/bin
export LC_ALL PATH
settings=/etc/sysctl.d/60-stead.conf

has() { command -v "$1" >/dev/null 2>&1; }
known() {
  getent "$1" "$2" >/dev/null 2>&1 && return
  while IFS=: read -r name rest; do
    [ "$name" = "$2" ] && return
  done <"/etc/$1"
  return 1
}
group() {
  known group "$1" && return
  if has groupadd; then groupadd --system -- "$1"; else addgroup -S -- "$1"; fi
}
user() {
  known passwd "$1" && return
  if has useradd; then
    if known group "$1"; then set -- "$1" --gid "$1"; fi
    name=$1
    shift
    useradd --system --no-create-home --shell /usr/sbin/nologin "$@" -- "$name"
  else
    if known group "$1"; then set -- "$1" -G "$1"; fi
    name=$1
    shift
    adduser -S -D -H -s /sbin/nologin "$@" -- "$name"
  fi
}
setting() {
  key=${1%%=*} value=${1#*=}
  mkdir -p /etc/sysctl.d || return 1
  {
    if [ -f "$settings" ]; then
      while IFS= read -r line; do
        case $line in "$key ="*) ;; *) printf '%s\n' "$line" ;; esac
      done <"$settings"
    else
      echo '# By `stead check --apply`.'
    fi
    printf '%s = %s\n' "$key" "$value"
  } >"$settings.new" && mv "$settings.new" "$settings" || return 1
  if has sysctl; then sysctl -q -w "$key=$value"
  else printf '%s\n' "$value" >"/proc/sys/$(printf %s "$key" | tr . /)"; fi
}
mend() {
  case $1 in
    group:*) group "${1#group:}" ;;
    user:*) user "${1#user:}" ;;
    sysctl:*) setting "${1#sysctl:}" ;;
    time-sync) timedatectl set-ntp true ;;
    *) echo "it is not known here"; return 1 ;;
  esac
}

echo stead-mends
for word; do
  if why=$(mend "$word" 2>&1); then printf 'done=%s\n' "$word"
  else printf 'failed=%s %s\n' "$word" "$(printf %s "$why" | tr '\n' ' ')"; fi
done
echo stead-end
