# Runs a script as root where `sudo` lets it, and as whoever has logged in where not.
script=$1
shift
if sudo -n true </dev/null 2>/dev/null; then
  exec sudo -n sh -c "$script" stead works "$@"
fi
exec sh -c "$script" stead refused "$@"
