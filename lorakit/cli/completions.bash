# eval "$(lorakit completions bash)"
_lorakit() {
  local IFS=$'\n'
  COMPREPLY=($(lorakit completions words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null))
}
complete -o default -F _lorakit lorakit
