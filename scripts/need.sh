#!/bin/sh
# need.sh BINARY:PACKAGE ... installs the Debian packages whose binaries are missing.
# All there: ends in milliseconds and needs neither root nor a network. Not allowed to install: says the one line to run
# as root, and fails. Daemons that come with a package are not started, so nothing takes a well-known port.
set -eu
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
for directory in /usr/lib/postgresql/*/bin; do
  [ -d "$directory" ] && PATH="$PATH:$directory"
done

missing=
for pair in "$@"; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -z "$missing" ] && exit 0

by_hand="apt-get update && apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "These Debian packages are needed, and this system has no apt-get:$missing" >&2
  exit 1
elif [ "$(id -u)" = 0 ]; then
  as_root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  echo "These Debian packages are needed, and this account cannot install them:$missing" >&2
  echo "Run once as root:  $by_hand" >&2
  exit 1
fi

echo "Installing Debian packages:$missing"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
own_policy=
clean_up() {
  rm -f "$log"
  if [ -n "$own_policy" ]; then $as_root rm -f "$policy"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# 101 tells Debian's install scripts not to start daemons; removed again above.
if [ ! -e "$policy" ]; then
  own_policy=yes
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
  $as_root chmod +x "$policy"
fi

# Another apt may be running, and mirrors fail at times: wait for its lock, try thrice.
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" \
    </dev/null >"$log" 2>&1
}
apt update || echo "apt-get update failed; trying with the package lists that are there." >&2
# shellcheck disable=SC2086  # a list of package names, split on purpose
if ! apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold $missing; then
  tail -n 20 "$log" >&2
  echo "Could not install:$missing. Run by hand as root:  $by_hand" >&2
  exit 1
fi
