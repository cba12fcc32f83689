# What `lorakit remote` runs at the other end: sh -c THIS sh FOLDER VERSION VERB WORDS...
# Nothing that is there is lost: what a push replaces goes to .lorakit/aside.
folder=$1 version=$2 verb=$3
shift 3
mkdir -p "$folder" && cd "$folder" && mkdir -p .lorakit/sent || exit 1
PATH="$PWD/.lorakit/source/.venv/bin:$HOME/.local/bin:$PATH"
export PATH

case $verb in
setup | take | place) ;; # of these, the first comes before lorakit, and the others after `about`
*)
  there=$(lorakit --version 2> /dev/null) || exit 76
  [ "$there" = "lorakit $version" ] || { echo "$there" >&2; exit 77; }
  ;;
esac

aside() { # PLACE: out of the way
  kept=.lorakit/aside/$(date +%Y%m%d-%H%M%S)/$1
  mkdir -p "$(dirname "$kept")" && mv "$1" "$kept" && echo "$1 was there: it is in $kept now"
}

if [ "$verb" = several ]; then # RECIPE... -- WORDS: a `start`; of many recipes only those without a run here
  verb=start any= many=
  [ "$2" = -- ] || many=yes
  while [ "$1" != -- ]; do
    one=$1
    shift
    if [ "$many" ] && [ -d "runs/$(basename "$one" .toml)" ]; then
      echo "$(basename "$one" .toml) has a run there and is left out"
    else
      any=yes
      set -- "$@" "$one"
    fi
  done
  shift
  [ "$any" ] || exit 0
fi

case $verb in
about) # DIGEST...: the clock, free kilobytes, and how much of each bundle is here
  date +%s
  df -Pk . | awk 'NR == 2 { print $4 }'
  for digest; do
    if [ -d ".lorakit/sent/$digest" ]; then echo all; else wc -c < ".lorakit/sent/$digest.zip" 2> /dev/null || echo 0; fi
  done
  ;;
take) # DIGEST BYTES: the rest of a bundle, unpacked once every byte is proven
  zip=.lorakit/sent/$1.zip
  cat >> "$zip" || { rm -f "$zip"; exit 1; }
  [ "$(wc -c < "$zip")" -eq "$2" ] || { echo "the bundle came in part" >&2; exit 1; }
  lorakit dataset bundle verify "$zip" --unpack ".lorakit/sent/$1" > /dev/null 2> .lorakit/said || { cat .lorakit/said >&2; rm -f "$zip"; exit 1; }
  rm -f "$zip"
  ;;
place) # PROJECT [DIGEST PLACE]...: a dataset is a link to its bundle; recipe, lock and presets are copied
  project=.lorakit/sent/$1
  shift
  while [ $# -gt 0 ]; do
    target=$PWD/.lorakit/sent/$1 place=$2
    shift 2
    [ "$(readlink "$place")" = "$target" ] && continue
    if [ -e "$place" ] || [ -L "$place" ]; then
      if lorakit runs --json | grep -Eq '"state": "(running|unattended)"'; then
        echo "a run is under way there, and $place has changed here; wait for it, or stop it" >&2
        exit 1
      fi
      [ -L "$place" ] || aside "$place"
    fi
    mkdir -p "$(dirname "$place")" && ln -sfn "$target" "$place" || exit 1
  done
  (cd "$project" && find . -type f) | while IFS= read -r file; do
    file=${file#./}
    cmp -s "$project/$file" "$file" && continue
    [ ! -e "$file" ] || aside "$file"
    mkdir -p "$(dirname "$file")" && cp "$project/$file" "$file"
  done
  ;;
start) # WORDS of lorakit, in a session of their own; what they say, until the run has begun
  log=.lorakit/start-$$.log shown=0 over=
  : > "$log"
  setsid lorakit "$@" < /dev/null > "$log" 2>&1 &
  while :; do
    kill -0 $! 2> /dev/null || over=yes
    size=$(wc -c < "$log")
    tail -c "+$((shown + 1))" "$log" | head -c "$((size - shown))"
    shown=$size
    if grep -q '^run ' "$log"; then exit 0; fi
    if [ "$over" ]; then wait $!; exit; fi
    sleep 0.2
  done
  ;;
pack) # RUN BYTES: the run as a bundle, from that byte on
  code=.lorakit/code-$$
  { lorakit remote here pack "$1" || echo $? > "$code"; } | tail -c "+$(($2 + 1))"
  if [ -e "$code" ]; then rm -f "$code"; exit 1; fi
  ;;
setup) # a shell's lines that make source/
  cd .lorakit && eval "$1" && source/.venv/bin/lorakit doctor
  ;;
*) exec lorakit "$verb" "$@" ;;
esac
