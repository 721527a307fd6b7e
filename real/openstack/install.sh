#!/bin/bash
# Install, once, what real/openstack/up needs: RabbitMQ and MariaDB from Debian, Keystone, Cinder and Nova 2026.1 from PyPI in a
# virtual environment in the cache folder, and there a prepared database. No service is started, and none is enabled.
# usage: real/openstack/install.sh        (as root, or with sudo at hand, when packages are missing)
# Run again it finds everything in place and ends at once.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${CASTOFF_OPENSTACK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/castoff/openstack}
PACKAGES=(rabbitmq-server mariadb-server python3-venv iproute2 util-linux)

say() { printf 'openstack/install: %s\n' "$*" >&2; }
as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi; }

missing=()
for p in "${PACKAGES[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || missing+=("$p")
done

# The machine may have its own policy-rc.d: it is put back as it was, whatever happens.
POLICY=/usr/sbin/policy-rc.d
# shellcheck disable=SC2317  # called by the trap
restore_services() {
  as_root rm -f "$POLICY"
  [[ ! -e $POLICY.castoff-kept && ! -L $POLICY.castoff-kept ]] || as_root mv "$POLICY.castoff-kept" "$POLICY"
}
if ((${#missing[@]})); then
  say "packages to install: ${missing[*]}"
  apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -y -qq -o DPkg::Lock::Timeout=300)
  as_root "${apt[@]}" update
  trap restore_services EXIT
  [[ ! -e $POLICY && ! -L $POLICY ]] || as_root mv "$POLICY" "$POLICY.castoff-kept"
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
  as_root chmod 755 "$POLICY"
  as_root "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null
  restore_services
  trap - EXIT
  # Packages enable their units for the next boot; what was not here before stays off.
  if command -v systemctl >/dev/null; then
    for unit in rabbitmq-server.service mariadb.service epmd.service epmd.socket; do
      [[ " ${missing[*]} " != *" ${unit%%.*} "* && " ${missing[*]} " != *" mariadb-server "* ]] \
        || as_root systemctl disable --quiet "$unit" >/dev/null 2>&1 || true
    done
  fi
fi

wanted=$(cat "$HERE/requirements.txt" "$HERE/constraints.txt" | sha256sum)
if [[ $(cat "$CACHE/venv/castoff-installed" 2>/dev/null) != "$wanted" ]]; then
  say "virtual environment in $CACHE/venv"
  mkdir -p "$CACHE"
  rm -rf "$CACHE/venv"
  # The distribution's Python: the lab shows /usr, and so can run what is in here too.
  /usr/bin/python3 -m venv "$CACHE/venv"
  "$CACHE/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c "$HERE/constraints.txt" -r "$HERE/requirements.txt"
  printf '%s\n' "$wanted" >"$CACHE/venv/castoff-installed"
fi
# What prepares them counts too.
wanted=$(cat "$HERE/requirements.txt" "$HERE/constraints.txt" "$HERE/up" | sha256sum)
if [[ $(cat "$CACHE/template/castoff-prepared" 2>/dev/null) != "$wanted" ]]; then
  say "databases in $CACHE/template"
  "$HERE/up" --prepare
  printf '%s\n' "$wanted" >"$CACHE/template/castoff-prepared"
fi
say "ready"
