# DATA PORT SOCKETS: makes the cluster the first time, then becomes the server.
set -e
PATH=$(echo /usr/lib/postgresql/*/bin | tr ' ' '\n' | tail -1):$PATH
[ -f "$1/main/PG_VERSION" ] || initdb --pgdata="$1/main" --encoding=UTF8 --auth=trust
exec postgres -D "$1/main" -p "$2" -k "$3" -c listen_addresses=127.0.0.1
