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
readonly data=/var/lib/chaffer
readonly backups=$data/backups
readonly logs=/var/log/chaffer
readonly account=chaffer
readonly supervisor_file=/etc/supervisor/conf.d/chaffer.conf
readonly units=/etc/systemd/system
readonly nginx_http=/etc/nginx/conf.d/chaffer.conf
readonly nginx_locations=/etc/nginx/snippets/chaffer-locations.conf
readonly include='include snippets/chaffer-locations.conf;'
readonly mark="# added by Chaffer's install.sh"
# How many earlier releases and backups are kept.
readonly kept=3
# How long a program may take until it is ready, in seconds: its migrations come first.
readonly patience=120

binaries='' site='' nginx_site='' database_file='' manager='' uninstall='' purge=''
release='' previous='' scratch=''

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
  trap 'rm -rf "$scratch"' EXIT
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

# ---- the programs

build() {
  [[ -e $here/../Cargo.toml ]] || die 'there is no source here: name the folder of the programs with --binaries'
  need_packages build-essential pkg-config libmariadb-dev
  [[ -d ${CARGO_HOME:-$HOME/.cargo}/bin ]] && PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null \
    || die 'cargo is missing. Install Rust (https://rustup.rs), or build as yourself and use --binaries target/release'
  command -v npm >/dev/null || die 'npm is missing. Install Node.js 20 or later (https://nodejs.org)'
  step 'Building the release; the first time takes a few minutes'
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

configure() {
  if [[ -n $database_file ]]; then
    CHAFFER_DATABASE_URL=$(tr -d '[:space:]' <"$database_file") || die "cannot read $database_file"
    export CHAFFER_DATABASE_URL
  fi
  if [[ -e $config ]]; then
    [[ -z $site && -z ${CHAFFER_DATABASE_URL:-} ]] || say "    $config is there and stays as it is"
  else
    step "Writing $config with fresh keys"
    (
      umask 027
      export CHAFFER_DATABASE_URL=${CHAFFER_DATABASE_URL:-sqlite://$data/chaffer.db}
      if [[ -n $site ]]; then
        export CHAFFER_API_ALLOWED_ORIGINS=$site CHAFFER_PUSH_ALLOWED_ORIGINS=$site
        export CHAFFER_API_WEBSOCKET_URL=ws${site#http}/ws
      fi
      "$release/chaffer-api" init --dir "$etc"
    ) || { rm -f "$config" "$etc/api-key"; die 'the configuration could not be made; nothing runs yet'; }
    chown -R "$account:$account" "$data"
    chmod 600 "$etc/api-key"
  fi
  # What comes from the file; the environment was for the new one.
  unset CHAFFER_DATABASE_URL
  chown root:"$account" "$config"
  chmod 640 "$config"
}

back_up() {
  local file=$backups/before-${release##*/}.db
  step "Backing the database up to $file"
  as_account "$release/chaffer-api" --config "$config" backup "$file" \
    || die 'no backup, no upgrade: nothing has been changed'
}

# address SECTION KEY DEFAULT: as the daemons read it from the configuration.
address() {
  local found='' file
  for file in "$config" "${config%.toml}.local.toml"; do
    [[ -r $file ]] || continue
    found=$(awk -v section="[$1]" -v key="$2" -v found="$found" '
      /^[[:space:]]*\[/ { inside = index($0, section) > 0 }
      inside && $1 == key && split($0, part, "\"") > 2 { found = part[2] }
      END { print found }' "$file")
  done
  found=${found:-$3}
  found=${found/#0.0.0.0:/127.0.0.1:}
  printf '%s' "${found/#\[::\]:/[::1]:}"
}

# ---- supervisor or systemd

choose_manager() {
  if [[ -e $units/chaffer-api.service ]]; then
    manager=systemd
  elif [[ $manager == systemd ]]; then
    [[ ! -e $supervisor_file ]] || die 'Chaffer runs under supervisor here: --uninstall it first'
    [[ -d /run/systemd/system ]] || die '--systemd: systemd does not run here'
  else
    manager=supervisor
    need_packages supervisor
    if ! supervisorctl pid >/dev/null 2>&1; then
      step 'Starting supervisor'
      if [[ -d /run/systemd/system ]]; then systemctl start supervisor; else unlocked service supervisor start; fi
      wait_for 'supervisor' supervisorctl pid || die 'supervisor does not run; see /var/log/supervisor/'
    fi
  fi
}

wait_for() {
  local what=$1 deadline=$((SECONDS + 20))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || { say "    $what does not answer"; return 1; }
    sleep 0.2
  done
}

# Brings supervisor's or systemd's files up to date. A program that is new to them is started.
register() {
  local program changed=''
  case $manager in
    supervisor)
      if place supervisor.conf "$supervisor_file"; then changed=yes; fi
      supervisorctl reread >/dev/null
      if [[ -n $changed && -n $previous ]]; then say '    supervisor restarts the programs, because their definition changed'; fi
      supervisorctl update chaffer-push chaffer-api
      ;;
    systemd)
      for program in "${programs[@]}"; do
        if place "$program.service" "$units/$program.service"; then changed=yes; fi
      done
      [[ -z $changed ]] || systemctl daemon-reload
      systemctl --quiet enable "${programs[@]}"
      ;;
  esac
}

manage() {
  local action=$1 program=$2
  case $manager-$action in
    supervisor-pid) supervisorctl pid "$program" 2>/dev/null | grep -E '^[1-9][0-9]*$' ;;
    supervisor-hand_over) supervisorctl signal USR2 "$program" >/dev/null ;;
    # Not `start`: to one that is waiting to be tried again after a crash it says that it is started already.
    supervisor-start) supervisorctl restart "$program" >/dev/null || true ;;
    supervisor-stop) supervisorctl stop "$program" >/dev/null || true ;;
    supervisor-restart) supervisorctl restart "$program" >/dev/null || true ;;
    systemd-pid) systemctl show --property=MainPID --value "$program" | grep -E '^[1-9][0-9]*$' ;;
    systemd-hand_over) systemctl reload "$program" ;;
    systemd-start) systemctl start "$program" ;;
    systemd-stop) systemctl stop "$program" ;;
    systemd-restart) systemctl restart "$program" ;;
  esac
}

ready() {
  local address
  case $1 in
    chaffer-api) address=$(address api listen 127.0.0.1:8090) ;;
    chaffer-push) address=$(address push http_listen 127.0.0.1:8093) ;;
  esac
  local host=${address%:*} status connection
  host=${host#[}
  # In a subshell, since a refused connection ends the shell that asks for it.
  (
    exec {connection}<>"/dev/tcp/${host%]}/${address##*:}" || exit 1
    printf 'GET /readyz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$address" >&"$connection"
    read -r -t 5 -u "$connection" _ status _ && [[ $status == 200 ]]
  ) 2>/dev/null
}

# is_of PROGRAM RELEASE: whether the process that runs is that release's program.
is_of() {
  local pid
  pid=$(manage pid "$1") && [[ $(readlink "/proc/$pid/exe") == "$2/$1" ]]
}

# await PROGRAM RELEASE: until it runs and is ready; gives up when that takes too long, or it dies again and again.
await() {
  local deadline=$((SECONDS + patience)) absences=0 pid
  while true; do
    pid=$(manage pid "$1" || true)
    if [[ -z $pid ]]; then
      absences=$((absences + 1))
    elif [[ $(readlink "/proc/$pid/exe") == "$2/$1" ]] && ready "$1"; then
      return 0
    fi
    ((SECONDS < deadline && absences < 10)) || return 1
    sleep 0.2
  done
}

# The programs of the new release take over, the API first: what the push daemon asks it for is there then.
# Each finishes what it began and becomes its successor with its ports left open, so nobody is refused.
hand_over() {
  local program
  for program in chaffer-api chaffer-push; do
    step "Handing over to the new $program"
    if manage pid "$program" >/dev/null; then
      # The program asks the same before it makes room, and tells its log alone.
      local command=()
      if [[ $program == chaffer-api ]]; then command=(serve); fi
      as_account "$release/$program" --check "${command[@]}" --config "$config" >/dev/null || return 1
      is_of "$program" "$release" || manage hand_over "$program" || return 1
    else
      manage start "$program"
    fi
    await "$program" "$release" || return 1
  done
}

start() {
  local program
  for program in "${programs[@]}"; do
    step "Starting $program"
    manage pid "$program" >/dev/null || manage start "$program"
  done
  for program in chaffer-api chaffer-push; do
    await "$program" "$release" || { show_log "$program"; die "$program does not become ready; mend what it says and run this again"; }
  done
}

show_log() {
  say "    The end of $1's log:"
  case $manager in
    supervisor) tail -n 15 "$logs/$1.log" 2>/dev/null | sed 's/^/      /' || true ;;
    systemd) journalctl --no-pager -n 15 -u "$1" 2>/dev/null | sed 's/^/      /' || true ;;
  esac
}

roll_back() {
  local program backup=$backups/before-${release##*/}.db
  show_log chaffer-api
  show_log chaffer-push
  step "The new version does not become ready: going back to $(basename "$previous")"
  switch_to "$previous"
  if ! as_account "$previous/chaffer-api" --config "$config" migrate >/dev/null 2>"$scratch/refusal"; then
    sed 's/^/    /' "$scratch/refusal"
    give_database_back "$backup"
  fi
  for program in "${programs[@]}"; do is_of "$program" "$previous" || manage restart "$program"; done
  for program in "${programs[@]}"; do
    await "$program" "$previous" || die "$program of the previous version does not become ready either; see its log"
  done
  rm -rf "$release"
  die "the upgrade failed and has been undone; the previous version runs. The backup is $backup"
}

# The new version has changed the tables so that the old one refuses them, and cannot replace them either: it fills a
# new file. On a database server somebody has to say which database may be emptied.
give_database_back() {
  local url file part failed=${1/before-/failed-}
  url=$(address database url '')
  manage stop chaffer-api
  [[ $url == sqlite://* ]] || die "the old version does not know the tables of the new one, which has started and failed: empty the database, then
  chaffer-api --config $config restore $1    and run this again with the old programs"
  file=${url#sqlite://}
  step 'The old version does not know these tables: restoring the backup'
  # What was committed last may still stand in the log beside it.
  for part in '' -wal -shm; do
    if [[ -e $file$part ]]; then mv "$file$part" "$failed$part"; fi
  done
  as_account "$previous/chaffer-api" --config "$config" restore "$1" || die "cannot restore $1; the database is now $failed"
  say "    What was there is kept in $failed"
}

# ---- nginx

nginx_runs() { [[ -s /run/nginx.pid ]] && kill -0 "$(</run/nginx.pid)" 2>/dev/null; }

# Sites that were edited. They may stand anywhere, since nginx follows links, so they are kept one by one.
edited=()

keep_nginx() {
  edited=()
  rm -rf "$scratch/nginx" && cp -a /etc/nginx "$scratch/nginx"
}

# edit_site FILE: puts what was prepared in its place.
edit_site() {
  cp "$1" "$scratch/edited-${#edited[@]}"
  edited+=("$1")
  cat "$scratch/site" >"$1"
}

# Puts back what has been kept; files are written in place, since they may be links.
undo_nginx() {
  local file
  while read -r file; do
    if [[ ! -e $scratch/nginx/$file ]]; then
      rm -f "/etc/nginx/$file"
    elif ! cmp -s "$scratch/nginx/$file" "/etc/nginx/$file"; then
      cat "$scratch/nginx/$file" >"/etc/nginx/$file"
    fi
  done < <({ cd /etc/nginx && find . -type f; cd "$scratch/nginx" && find . -type f; } | sort -u)
  for file in "${!edited[@]}"; do cat "$scratch/edited-$file" >"${edited[file]}"; done
}

# Lets nginx take what was changed, or undoes it: the shop goes on in any case.
apply_nginx() {
  if ! nginx -t -q 2>"$scratch/nginx.log"; then
    undo_nginx
    sed 's/^/    /' "$scratch/nginx.log" >&2
    die "nginx does not accept $1; that has been undone, and nginx goes on as before"
  fi
  if nginx_runs; then nginx -s reload 2>"$scratch/nginx.log" || die "nginx does not reload: $(<"$scratch/nginx.log")"; else say '    nginx does not run: start it'; fi
}

# Before anything is changed.
check_nginx() {
  command -v nginx >/dev/null || return 0
  nginx -t -q 2>"$scratch/nginx.log" || { cat "$scratch/nginx.log" >&2; die 'nginx -t fails already: mend that first'; }
}

set_up_nginx() {
  local changed=''
  if ! command -v nginx >/dev/null; then
    [[ -z $nginx_site ]] || die '--nginx-site: there is no nginx here'
    say '    There is no nginx here. For Apache see deploy/httpd/.'
    return
  fi
  keep_nginx
  if place chaffer.conf "$nginx_http"; then changed=yes; fi
  if place chaffer-locations.conf "$nginx_locations"; then changed=yes; fi
  if [[ -n $nginx_site ]] && add_include; then changed=yes; fi
  [[ -n $changed ]] || return 0
  step 'nginx'
  apply_nginx "the snippets${nginx_site:+ or the line in $nginx_site}"
}

# Puts the include line into each server block of the file; where some of them speak TLS, into those alone.
add_include() {
  local file=$nginx_site
  [[ -e $file ]] || file=/etc/nginx/sites-available/$nginx_site
  [[ -e $file ]] || file=/etc/nginx/sites-enabled/$nginx_site
  [[ -e $file ]] || { undo_nginx; die "--nginx-site: there is no $nginx_site"; }
  file=$(readlink -f "$file")
  if grep -q 'chaffer-locations\.conf' "$file"; then return 1; fi
  awk -v line="    $include  $mark" '
    {
      text[NR] = $0
      code = $0
      sub(/(^|[ \t])#.*/, "", code)
      if (!inside && code ~ /^[ \t]*server[ \t]*(\{|$)/) { inside = 1; outside = depth; opened = 0; tls = 0 }
      if (inside && code ~ /(^|[ \t;{])listen[ \t][^;]*(ssl|443)/) tls = 1
      count = split(code, character, "")
      for (i = 1; i <= count; i++) {
        if (character[i] == "{") {
          depth++
          if (inside && !opened) { opened = NR; column = i }
        } else if (character[i] == "}") {
          depth--
          if (inside && opened && depth == outside) { inside = 0; blocks++; at[blocks] = opened; behind[blocks] = column; secure[blocks] = tls; some = some || tls }
        }
      }
    }
    END {
      for (b = 1; b <= blocks; b++) if (secure[b] || !some) insert[at[b]] = behind[b]
      for (n = 1; n <= NR; n++) {
        if (!(n in insert)) { print text[n]; continue }
        print substr(text[n], 1, insert[n]); print line
        rest = substr(text[n], insert[n] + 1)
        if (rest ~ /[^ \t]/) print rest
      }
      if (!blocks) exit 1
    }' "$file" >"$scratch/site" || { undo_nginx; die "--nginx-site: there is no server block in $file"; }
  edit_site "$file"
  say "    The include line is in $file"
}

remove_from_nginx() {
  local file
  command -v nginx >/dev/null || return 0
  [[ -e $nginx_http || -e $nginx_locations ]] || return 0
  step 'nginx'
  keep_nginx
  while read -r file; do
    sed "/^[[:space:]]*include[[:space:]][^;]*chaffer-locations\.conf\"\?;[[:space:]]*\(#.*\)\?$/d" "$file" >"$scratch/site"
    edit_site "$file"
    say "    The include line is gone from $file"
  done < <(grep -RlE '^[[:space:]]*include[[:space:]][^;]*chaffer-locations\.conf' /etc/nginx | xargs -r readlink -f | sort -u)
  rm -f "$nginx_http" "$nginx_locations"
  apply_nginx 'its configuration without Chaffer (is chaffer-locations.conf included in some other way?)'
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
  local first=yes
  if [[ -L $releases/current ]]; then
    previous=$(readlink -f "$releases/current")
    [[ -x $previous/chaffer-api ]] || die "$releases/current leads nowhere: --uninstall, then install again; data and configuration stay"
    first=''
  fi
  check_nginx
  choose_manager
  [[ -n $binaries ]] || build
  unpack
  make_account
  [[ -n $first ]] || [[ -e $config ]] || first=yes
  configure
  if [[ -n $previous ]]; then back_up; fi
  switch_to "$release"
  register
  if [[ -z $previous ]]; then start; else hand_over || roll_back; fi
  set_up_nginx
  forget_old
  explain "$first"
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
