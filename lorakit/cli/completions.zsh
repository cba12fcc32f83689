# eval "$(lorakit completions zsh)"
_lorakit() {
  local -a found=(${(f)"$(lorakit completions words -- "${(@)words[2,CURRENT]}" 2> /dev/null)"})
  if (( $#found )); then compadd -a found; else _files; fi
}
compdef _lorakit lorakit
