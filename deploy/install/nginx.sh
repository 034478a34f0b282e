# The shop's nginx gets the snippets, and never a configuration that it refuses: sourced by install.sh.
# shellcheck shell=bash disable=SC2154

readonly nginx_http=/etc/nginx/conf.d/chaffer.conf
readonly nginx_locations=/etc/nginx/snippets/chaffer-locations.conf
readonly include='include snippets/chaffer-locations.conf;'
readonly mark="# added by Chaffer's install.sh"

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

# Lets nginx take what was changed, or undoes it and fails: the shop goes on in any case.
apply_nginx() {
  if ! nginx -t -q 2>"$scratch/nginx.log"; then
    undo_nginx
    sed 's/^/    /' "$scratch/nginx.log" >&2
    say "    nginx does not accept $1; that has been undone, and nginx goes on as before" >&2
    return 1
  fi
  if ! nginx_runs; then
    say '    nginx does not run: start it'
  elif ! reload_nginx; then
    say "    nginx does not reload: $(<"$scratch/nginx.log")" >&2
    return 1
  fi
}

# Until the workers from before have heard of it, they take connections and serve the old configuration.
reload_nginx() {
  local master workers
  master=$(</run/nginx.pid)
  workers=$(cat "/proc/$master/task/$master/children" 2>/dev/null)
  nginx -s reload 2>"$scratch/nginx.log" || return 1
  for _ in {1..100}; do
    # shellcheck disable=SC2086 # several
    some_serve $workers || return 0
    sleep 0.1
  done
  say '    nginx takes its time to reload: look into its log if the chat does not answer' >&2
}

# some_serve PID...: whether one of these workers goes on as if nothing had been said.
some_serve() {
  local pid title
  for pid; do
    title=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")
    [[ $title != 'nginx: worker process'* || $title == *'shutting down'* ]] || return 0
  done
  return 1
}

# Before anything is changed.
check_nginx() {
  if ! command -v nginx >/dev/null; then
    [[ -z $nginx_site ]] || die '--nginx-site: there is no nginx here'
    return 0
  fi
  if [[ -n $nginx_site ]]; then
    local file
    for file in "$nginx_site" "/etc/nginx/sites-available/$nginx_site" "/etc/nginx/sites-enabled/$nginx_site"; do
      [[ ! -f $file ]] || break
    done
    [[ -f $file ]] || die "--nginx-site: there is no $nginx_site"
    nginx_site=$(readlink -f "$file")
  fi
  nginx -t -q 2>"$scratch/nginx.log" || { cat "$scratch/nginx.log" >&2; die 'nginx -t fails already: mend that first'; }
}

set_up_nginx() {
  local changed=''
  if ! command -v nginx >/dev/null; then
    say '    There is no nginx here. For Apache see deploy/httpd/.'
    return
  fi
  keep_nginx || return 1
  if place chaffer.conf "$nginx_http"; then changed=yes; fi
  if place chaffer-locations.conf "$nginx_locations"; then changed=yes; fi
  if [[ -n $nginx_site ]] && ! grep -q 'chaffer-locations\.conf' "$nginx_site"; then
    add_include "$nginx_site" || { undo_nginx; say "    There is no server block in $nginx_site" >&2; return 1; }
    changed=yes
  fi
  [[ -n $changed ]] || return 0
  step 'nginx'
  apply_nginx "the snippets${nginx_site:+ or the line in $nginx_site}"
}

# add_include FILE: puts the include line into each of its server blocks; where some of them speak TLS, into those alone.
add_include() {
  local file=$1
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
    }' "$file" >"$scratch/site" || return 1
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
  apply_nginx 'its configuration without Chaffer (is chaffer-locations.conf included in some other way?)' || exit 1
}
