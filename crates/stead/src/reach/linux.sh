umask 022
root=$1 kit=$2 purpose=$3
if [ -z "$root" ]; then
  if [ "$(id -u)" = 0 ]; then root=/var/lib/stead
  else root=${XDG_STATE_HOME:-$HOME/.local/state}/stead; fi
fi
programs=$root/programs
if [ ! -x "$programs/$kit/stead" ] && [ "$purpose" = look ]; then
  kit=current
  if [ ! -x "$programs/current/stead" ]; then echo "stead-none"; exit 0; fi
fi
if [ ! -x "$programs/$kit/stead" ]; then
  echo "stead-wants $(uname -s) $(uname -m)"
  read -r kit own keeper front || exit 0
fi
if [ ! -x "$programs/$kit/stead" ]; then
  new=$programs/$kit.new-$$
  trap "rm -rf $new" EXIT
  mkdir -p "$programs" && mkdir "$new" || exit 1
  echo "stead-send"
  head -c "$own" >"$new/stead" && head -c "$keeper" >"$new/stead-keeper" &&
    head -c "$front" >"$new/stead-front" && chmod 755 "$new"/stead* || exit 1
  came=$("$new/stead" agent kit) || exit 1
  if [ "$came" != "$kit" ]; then echo "the programs came damaged" >&2; exit 1; fi
  sync
  mv -T "$new" "$programs/$kit" 2>/dev/null
  trap - EXIT
  rm -rf "$new"
fi
# What is in use is not old.
[ "$purpose" = look ] || touch "$programs/$kit" 2>/dev/null
exec "$programs/$kit/stead" --root "$root" relay
