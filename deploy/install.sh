#!/usr/bin/env bash
# Installs Chaffer beside a shop on Debian, upgrades it, uninstalls it. `deploy/install.sh --help` says how,
# deploy/README.md what it does and how to do the same by hand.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly programs=(chaffer-push chaffer-api)
readonly releases=/usr/local/lib/chaffer
readonly bin=/usr/local/bin
readonly etc=/etc/chaffer
readonly config=$etc/chaffer.toml
readonly local_config=$etc/chaffer.local.toml
readonly data=/var/lib/chaffer
readonly backups=$data/backups
readonly logs=/var/log/chaffer
readonly account=chaffer
# How many earlier releases and backups are kept.
readonly kept=3

binaries='' site='' nginx_site='' database_file='' manager='' uninstall='' purge=''
release='' previous='' backup='' scratch=''

usage() {
  cat <<'TEXT'
Usage: deploy/install.sh [OPTIONS]               install, or upgrade what is installed
       deploy/install.sh --uninstall [--purge]

As root, on Debian. It asks nothing and can be run again at any time.

  --binaries DIR        take chaffer-api and chaffer-push from DIR; without it they are built from this checkout
                        (needs Rust, Node.js 20, build-essential, pkg-config and libmariadb-dev)
  --site URL            the shop's address, such as https://shop.example: fills in who may call from a browser, and
                        where browsers open their socket
  --database URL        default: sqlite:///var/lib/chaffer/chaffer.db. For MariaDB or MySQL write
                        mysql://user:password@127.0.0.1:3306/chaffer, better into a file: command lines are public
  --database-file FILE  a file that holds the URL; the environment variable CHAFFER_DATABASE_URL does, too
  --nginx-site FILE     puts the include line into the shop's `server { ... }` in this file, or in
                        /etc/nginx/sites-available/FILE; undone when nginx does not accept it
  --systemd             run as systemd units, not under supervisor
  --uninstall           remove programs, units and snippets; data, configuration and logs stay
  --purge               with --uninstall: remove those, too (a MariaDB database stays)
  --yes                 accepted for scripts; nothing is ever asked
  --help

--site and --database count when there is no configuration yet; afterwards edit /etc/chaffer/chaffer.toml.
TEXT
}

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
die() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

read_options() {
  while (($#)); do
    case $1 in
      --binaries | --site | --nginx-site | --database | --database-file)
        (($# > 1)) || die "$1 needs a value; see --help"
        case $1 in
          --binaries) binaries=$2 ;;
          --site) site=${2%/} ;;
          --nginx-site) nginx_site=$2 ;;
          --database) export CHAFFER_DATABASE_URL=$2 ;;
          --database-file) database_file=$2 ;;
        esac
        shift
        ;;
      --systemd) manager=systemd ;;
      --uninstall) uninstall=yes ;;
      --purge) purge=yes ;;
      --yes | -y) ;;
      --help | -h)
        usage
        exit 0
        ;;
      *) die "unknown option $1; see --help" ;;
    esac
    shift
  done
  [[ -z $purge || -n $uninstall ]] || die '--purge belongs to --uninstall'
  [[ -z $site || $site =~ ^https?://[^/[:space:]]+$ ]] || die "--site $site: write it as https://shop.example"
}

prepare() {
  ((EUID == 0)) || die 'run this as root'
  [[ -e /etc/debian_version ]] || die 'this is not Debian; deploy/README.md says how to install by hand'
  umask 022
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  exec 9>/run/chaffer-install.lock
  flock -n 9 || die 'another install.sh is running'
  scratch=$(mktemp -d)
  trap clean_up EXIT
}

# Programs that were unpacked and never came to run go, too.
clean_up() {
  rm -rf "$scratch"
  [[ -z $release || $(readlink "$releases/current") == "$release" ]] || rm -rf "$release"
}

# What goes on running after this script must not keep its lock.
unlocked() { "$@" 9>&-; }

need_packages() {
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) == 'install ok installed' ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  step "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  unlocked apt-get install -y -q --no-install-recommends "${missing[@]}" \
    || { apt-get update -q && unlocked apt-get install -y -q --no-install-recommends "${missing[@]}"; } \
    || die "cannot install ${missing[*]}"
}

# shellcheck source=deploy/install/services.sh
source "$here/install/services.sh"
# shellcheck source=deploy/install/nginx.sh
source "$here/install/nginx.sh"

# ---- the programs

build() {
  [[ -e $here/../Cargo.toml ]] || die 'there is no source here: name the folder of the programs with --binaries'
  need_packages build-essential pkg-config libmariadb-dev
  [[ -d ${CARGO_HOME:-$HOME/.cargo}/bin ]] && PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null \
    || die 'cargo is missing. Install Rust (https://rustup.rs), or build as yourself and use --binaries target/release'
  command -v npm >/dev/null || die 'npm is missing. Install Node.js 20 or later (https://nodejs.org)'
  step 'Building the release; the first time takes ten minutes or so'
  (
    cd "$here/.."
    npm --prefix web ci --no-audit --no-fund --loglevel=error
    npm --prefix web run --silent build
    cargo build --release --locked -p chaffer-api -p chaffer-push --features chaffer-api/mysql
  )
  binaries=${CARGO_TARGET_DIR:-$here/../target}/release
}

# Puts the new programs beside the old ones, where nothing uses them yet.
unpack() {
  local program version
  for program in "${programs[@]}"; do
    [[ -f $binaries/$program ]] || die "there is no $program in $binaries"
  done
  if ldd "$binaries/chaffer-api" 2>/dev/null | grep -q 'libmariadb.*not found'; then need_packages libmariadb3; fi
  for program in "${programs[@]}"; do
    "$binaries/$program" --version >"$scratch/version" \
      || die "$binaries/$program does not start; nothing has been changed"
  done
  version=$(awk '{ print $NF; exit }' "$scratch/version")
  release=$releases/$version-$(date -u +%Y%m%dT%H%M%S)-$$
  install -d -m 755 "$releases" "$release" "$release/deploy"
  for program in "${programs[@]}"; do install -m 755 "$binaries/$program" "$release/$program"; done
  install -m 644 "$here"/supervisor/chaffer.conf "$release/deploy/supervisor.conf"
  install -m 644 "$here"/nginx/*.conf "$here"/systemd/*.service "$release/deploy/"
}

# switch_to RELEASE: from the next start on, its programs run.
switch_to() {
  local program
  ln -sfn "$1" "$releases/.next"
  mv -fT "$releases/.next" "$releases/current"
  for program in "${programs[@]}"; do ln -sfn "$releases/current/$program" "$bin/$program"; done
}

# place NAME TARGET: installs one of the release's files, unless the owner has changed what the last one installed.
# Tells whether something changed.
place() {
  local new=$release/deploy/$1 old=$previous/deploy/$1 target=$2
  if [[ -e $target ]]; then
    if cmp -s "$new" "$target"; then return 1; fi
    if [[ -z $previous ]] || ! cmp -s "$old" "$target"; then
      say "    $target has been changed by hand and stays; the new one is $new"
      return 1
    fi
  fi
  install -D -m 644 "$new" "$target"
}

forget_old() {
  local old
  while read -r old; do
    [[ $old == "$release" || $old == "$previous" ]] || rm -rf "$old"
  done < <(find "$releases" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +$((kept + 1)) | cut -d' ' -f2-)
  while read -r old; do
    rm -f "$old"
  done < <(find "$backups" -maxdepth 1 -name 'before-*.db' -printf '%T@ %p\n' | sort -rn | tail -n +$((kept + 1)) | cut -d' ' -f2-)
}

# ---- account, configuration, database

make_account() {
  getent group "$account" >/dev/null || groupadd --system "$account"
  getent passwd "$account" >/dev/null \
    || useradd --system --gid "$account" --home-dir "$data" --no-create-home --shell /usr/sbin/nologin "$account"
  install -d -m 750 -o root -g "$account" "$etc"
  install -d -m 750 -o "$account" -g "$account" "$data"
  install -d -m 700 -o "$account" -g "$account" "$backups"
  # Supervisor writes there as root, so nobody else may put a link there.
  install -d -m 750 -o root -g "$account" "$logs"
}

as_account() { setpriv --reuid="$account" --regid="$account" --init-groups -- env -C "$data" "$@"; }

# The API's program with the configuration; while there is none, with what the environment says.
api() {
  local files=()
  if [[ -e $config ]]; then
    files=(--config "$config")
  elif [[ -e $local_config ]]; then
    files=(--config-override "$local_config")
  fi
  as_account "$release/chaffer-api" "${files[@]}" "$@"
}

# The settings in force, as the programs read them.
read_settings() {
  api config show --json >"$scratch/settings" \
    || die 'mend the configuration first; nothing has been changed'
}

# setting KEY: its value, which is a text.
setting() {
  local value
  value=$(sed -n "/^    \"key\": \"$1\",\$/{n;s/^    \"value\": \"\(.*\)\",\$/\1/p}" "$scratch/settings")
  printf '%b' "$value"
}

is_default() { grep -F -A 3 "\"key\": \"$1\"," "$scratch/settings" | grep -F '"is_default": true' >/dev/null; }

# The file of an SQLite database; nothing for a server's.
sqlite_file() {
  local url
  url=$(setting database.url)
  [[ $url == sqlite://* ]] || return 0
  (cd "$data" && realpath -m "${url#sqlite://}")
}

# A database elsewhere has to be one that the programs can write.
check_database_file() {
  local file folder
  file=$(sqlite_file)
  [[ -n $file && $file != "$data"/* ]] || return 0
  folder=$(dirname "$file")
  [[ $manager != systemd ]] || die "systemd's units may write below $data alone, so the database cannot be $file; nothing has been changed"
  as_account test -w "$folder" -a -x "$folder" || die "the account $account cannot write in $folder. Make it, then run this again:
  install -d -m 750 -o $account -g $account $folder"
}

configure() {
  if [[ -n $database_file ]]; then
    CHAFFER_DATABASE_URL=$(tr -d '[:space:]' <"$database_file") || die "cannot read $database_file"
    export CHAFFER_DATABASE_URL
  fi
  protect_configuration
  if [[ -e $config ]]; then
    [[ -z $site && -z ${CHAFFER_DATABASE_URL:-} ]] || say "    $config is there and stays as it is"
    forget_environment
    read_settings
    move_files_folder
    check_configuration
    check_ports
    back_up
    return
  fi
  if [[ -n $site ]]; then
    export CHAFFER_API_ALLOWED_ORIGINS=$site CHAFFER_PUSH_ALLOWED_ORIGINS=$site
    export CHAFFER_API_WEBSOCKET_URL=ws${site#http}/ws
  fi
  read_settings
  if is_default database.url; then
    export CHAFFER_DATABASE_URL=sqlite://$data/chaffer.db
    read_settings
  fi
  if is_default files.folder; then export CHAFFER_FILES_FOLDER=$data/files; fi
  check_database_file
  check_ports
  back_up
  step "Writing $config with fresh keys"
  local file fresh_key=''
  file=$(sqlite_file)
  # SQLite's other files get the owner of the first one.
  if [[ -n $file ]]; then as_account sh -c 'umask 077; : >>"$1"' sh "$file"; fi
  [[ -e $etc/api-key ]] || fresh_key=$etc/api-key
  if ! (umask 027 && cd "$data" && "$release/chaffer-api" init --dir "$etc"); then
    rm -f "$config" "$fresh_key"
    die 'the configuration could not be made; nothing runs yet'
  fi
  chmod 600 "$etc/api-key"
  forget_environment
  protect_configuration
  check_configuration
  read_settings
}

# Installations of the first days were told to keep files where their daemons may not write.
move_files_folder() {
  [[ $(setting files.folder) == "$etc/files" ]] || return 0
  sed -i "s|^folder = \"$etc/files\"|folder = \"$data/files\"|" "$config"
  say "    files.folder is $data/files now: $etc/files cannot be written to"
  read_settings
}

# The daemons will not have it, either.
forget_environment() {
  local name
  for name in "${!CHAFFER_@}"; do unset "$name"; done
}

# It holds secrets.
protect_configuration() {
  local file
  for file in "$config" "$local_config"; do
    [[ -e $file ]] || continue
    chown root:"$account" "$file"
    chmod 640 "$file"
  done
}

# A typo must not stop what runs.
check_configuration() {
  api --check >/dev/null && as_account "$release/chaffer-push" --config "$config" --check >/dev/null \
    || die 'mend the configuration first; what runs goes on as before'
}

back_up() {
  local file=$backups/before-${release##*/}.db
  step 'Backing the database up'
  api backup --if-any "$file" | sed 's/^/    /' \
    || die 'no backup, no upgrade: nothing has been changed'
  if [[ -e $file ]]; then backup=$file; fi
}

# ---- the whole

explain() {
  local first=$1
  say ''
  say "Chaffer $(basename "$release") runs under $manager."
  if [[ $first == yes ]]; then
    say "  The first API key, for the shop's backend:   $etc/api-key"
    say "  Addresses that may use it:                   api.trusted_ips in $config (now: this machine alone)"
    if [[ -z $site ]]; then
      say "  The shop's address is not known yet: set api.websocket_url, api.allowed_origins and push.allowed_origins in $config,"
      say '  then run this again.'
    fi
  fi
  if command -v nginx >/dev/null && ! grep -RqsE '^[^#]*include[[:space:]][^;]*chaffer-locations\.conf' /etc/nginx/sites-enabled /etc/nginx/nginx.conf /etc/nginx/conf.d; then
    say "  Put this line into the shop's server { ... } (or run this again with --nginx-site FILE), then: nginx -t && nginx -s reload"
    say "      $include"
  elif [[ -n $site ]]; then say "  Try it:  curl $site/chat/readyz"; fi
}

install_or_upgrade() {
  local first='' nginx_refused=''
  check_nginx
  choose_manager
  [[ -n $binaries ]] || build
  unpack
  make_account
  [[ -L $releases/current ]] || first=yes
  configure
  adopt_previous
  switch_to "$release"
  register
  hand_over || give_up
  set_up_nginx || nginx_refused=yes
  forget_old
  explain "$first"
  [[ -z $nginx_refused ]] || die 'nginx did not take it (see above); all else is done'
}

# What runs until now, with the way back to it: the last release, or programs that somebody put there by hand.
adopt_previous() {
  local program
  if [[ -L $releases/current ]]; then
    previous=$(readlink -f "$releases/current")
    [[ -x $previous/chaffer-api ]] || die "$releases/current leads nowhere: --uninstall, then install again; data and configuration stay"
    return
  fi
  for program in "${programs[@]}"; do
    [[ -f $bin/$program && ! -L $bin/$program ]] || return 0
  done
  previous=$releases/by-hand-$(date -u +%Y%m%dT%H%M%S)
  install -d -m 755 "$releases" "$previous"
  for program in "${programs[@]}"; do install -m 755 "$bin/$program" "$previous/$program"; done
}

remove() {
  local program
  remove_from_nginx
  step 'Stopping and removing the programs'
  if [[ -e $supervisor_file ]]; then
    rm -f "$supervisor_file"
    if supervisorctl pid >/dev/null 2>&1; then
      supervisorctl reread >/dev/null
      supervisorctl update chaffer-api chaffer-push
    fi
  fi
  if [[ -e $units/chaffer-api.service || -e $units/chaffer-push.service ]]; then
    if [[ -d /run/systemd/system ]]; then systemctl --quiet disable --now "${programs[@]}"; fi
    for program in "${programs[@]}"; do rm -f "$units/$program.service"; done
    if [[ -d /run/systemd/system ]]; then systemctl daemon-reload; fi
  fi
  for program in "${programs[@]}"; do rm -f "$bin/$program"; done
  rm -rf "$releases"
  if [[ -n $purge ]]; then
    step 'Removing data, configuration, logs and the account'
    rm -rf "$data" "$etc" "$logs"
    rm -f /var/log/nginx/chaffer.log* /run/chaffer-install.lock
    if getent passwd "$account" >/dev/null; then userdel "$account"; fi
    if getent group "$account" >/dev/null; then groupdel "$account"; fi
  else
    say "    These stay: $etc, $data, $logs and the account $account (--uninstall --purge removes them)"
  fi
}

read_options "$@"
prepare
if [[ -n $uninstall ]]; then remove; else install_or_upgrade; fi
