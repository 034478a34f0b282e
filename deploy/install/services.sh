# What runs the programs, supervisor or systemd, and how a new release takes over: sourced by install.sh.
# shellcheck shell=bash disable=SC2154

readonly supervisor_file=/etc/supervisor/conf.d/chaffer.conf
readonly units=/etc/systemd/system
# How long a program may take until it is ready, in seconds: its migrations come first.
readonly patience=120

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

# address KEY: where a program can be reached that listens there.
address() {
  local address
  address=$(setting "$1")
  address=${address/#0.0.0.0:/127.0.0.1:}
  printf '%s' "${address/#\[::\]:/[::1]:}"
}

# device ADDRESS: what bash calls a connection to it.
device() {
  local host=${1%:*}
  host=${host#[}
  printf '/dev/tcp/%s/%s' "${host%]}" "${1##*:}"
}

# Whatever else has a port, the PHP daemon for instance, would keep a program from starting.
check_ports() {
  local program key address
  for program in "${programs[@]}"; do
    if manage pid "$program" >/dev/null; then continue; fi
    for key in $(ports_of "$program"); do
      address=$(address "$key")
      if (exec {connection}<>"$(device "$address")") 2>/dev/null; then
        die "something else listens at $address ($key), and $manager did not start it: stop it first; what runs goes on as before"
      fi
    done
  done
}

ports_of() {
  case $1 in
    chaffer-api) echo api.listen ;;
    chaffer-push) echo push.websocket_listen push.pusher_listen push.http_listen ;;
  esac
}

ready() {
  local address status connection
  case $1 in
    chaffer-api) address=$(address api.listen) ;;
    chaffer-push) address=$(address push.http_listen) ;;
  esac
  # In a subshell, since a refused connection ends the shell that asks for it.
  (
    exec {connection}<>"$(device "$address")" || exit 1
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
  local program pid
  for program in "${programs[@]}"; do
    if manage pid "$program" >/dev/null; then continue; fi
    step "Starting $program"
    manage start "$program"
  done
  for program in chaffer-api chaffer-push; do
    # One that was started a moment ago may not be the program yet, and a signal would end it.
    if pid=$(manage pid "$program") && [[ $(readlink "/proc/$pid/exe") == */$program* ]] && ! is_of "$program" "$release"; then
      step "Handing over to the new $program"
      manage hand_over "$program" || return 1
    fi
    await "$program" "$release" || return 1
  done
}

give_up() {
  local program pid exe
  show_log chaffer-api
  show_log chaffer-push
  if [[ -n $previous ]]; then roll_back; fi
  for program in "${programs[@]}"; do
    if pid=$(manage pid "$program") && exe=$(readlink "/proc/$pid/exe") && [[ $exe != "$release"/* ]]; then
      say "    $program runs $exe: $manager has to start $bin/$program"
    fi
  done
  die "Chaffer does not become ready; mend what it says and run this again${backup:+. The backup is $backup}"
}

show_log() {
  say "    The end of $1's log:"
  case $manager in
    supervisor) tail -n 15 "$logs/$1.log" 2>/dev/null | sed 's/^/      /' || true ;;
    systemd) journalctl --no-pager -n 15 -u "$1" 2>/dev/null | sed 's/^/      /' || true ;;
  esac
}

roll_back() {
  local program
  step "The new version does not become ready: going back to $(basename "$previous")"
  switch_to "$previous"
  if ! as_account "$previous/chaffer-api" --config "$config" migrate >/dev/null 2>"$scratch/refusal"; then
    sed 's/^/    /' "$scratch/refusal"
    [[ -n $backup ]] || die 'there is no backup either'
    give_database_back "$backup"
  fi
  for program in "${programs[@]}"; do is_of "$program" "$previous" || manage restart "$program"; done
  for program in "${programs[@]}"; do
    await "$program" "$previous" || die "$program of the previous version does not become ready either; see its log"
  done
  rm -rf "$release"
  die "the upgrade failed and has been undone; the previous version runs${backup:+. The backup is $backup}"
}

# The new version has changed the tables so that the old one refuses them, and cannot replace them either: it fills a
# new file. On a database server somebody has to say which database may be emptied.
give_database_back() {
  local file part failed=${1/before-/failed-}
  file=$(sqlite_file)
  manage stop chaffer-api
  [[ -n $file ]] || die "the old version does not know the tables of the new one, which has started and failed: empty the database, then
  chaffer-api --config $config restore $1    and run this again with the old programs"
  step 'The old version does not know these tables: restoring the backup'
  # What was committed last may still stand in the log beside it.
  for part in '' -wal -shm; do
    if [[ -e $file$part ]]; then mv "$file$part" "$failed$part"; fi
  done
  as_account "$previous/chaffer-api" --config "$config" restore "$1" || die "cannot restore $1; the database is now $failed"
  say "    What was there is kept in $failed"
}
