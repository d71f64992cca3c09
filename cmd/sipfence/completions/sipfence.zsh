#compdef sipfence
# SPDX-License-Identifier: GPL-2.0-or-later
#
# zsh: commands and options are those that `sipfence help` prints, so they are never others than the
# program's. Names come from `sipfence status --json`, where the user may ask it.

_sipfence_program() {
	print -r -- ${commands[sipfence]:-/usr/sbin/sipfence}
}

# Ids and hosts; $@: options that say where config, state and daemon are.
_sipfence_names() {
	local -aU names
	names=(${${(f)"$(timeout 2 $(_sipfence_program) "$@" status --json 2>/dev/null |
		grep -oE '"(id|name)": ?"[A-Za-z0-9._@+-]+"' | cut -d'"' -f4 | head -n 2000)"}})
	compadd -a names
}

_sipfence() {
	emulate -L zsh
	setopt extendedglob
	local line name letter argument text action previous word command i
	local -a names offered specs fitting where found match mbegin mend
	local -A arguments argument_of tags help letter_of

	for line in ${(f)"$($(_sipfence_program) help 2>/dev/null)"}; do
		if [[ $line =~ '^ +(-(.), )?--([a-z-]+)(=([A-Z]+))? +(.*)$' ]]; then
			name=--$match[3] text=$match[6]
			names+=($name)
			argument_of[$name]=$match[5]
			[[ -z $match[2] ]] || letter_of[$name]=-$match[2]
			[[ -z $match[2] || -z $match[5] ]] || argument_of[-$match[2]]=$match[5]
			while [[ $text =~ '^(.*)( \[[a-z]+\])$' ]]; do
				tags[$name]+=$match[2]
				text=$match[1]
			done
			help[$name]=$text
		elif [[ $line =~ '^  ([a-z][a-z-]*)( (\[?[A-Z]+)[^ ]*)? +(.*)$' ]]; then
			found+=("$match[1]:$match[4]")
			arguments[$match[1]]=${match[3]#\[}
		fi
	done
	found+=('help:print commands and options')

	for ((i = 2; i < CURRENT; i++)); do
		word=$words[i]
		if [[ -n $previous ]]; then
			[[ $previous != (-c|--config) ]] || where+=(--config=$word)
			[[ $previous != (--state-dir|--run-dir) ]] || where+=($previous=$word)
			previous=
		elif [[ $word == --(config|state-dir|run-dir)=* ]]; then
			where+=($word)
		elif [[ $word == -* ]]; then
			[[ -z ${argument_of[$word]} ]] || previous=$word
		elif [[ -z $command ]]; then
			command=$word
		fi
	done

	for name in $names; do
		[[ -z $command || -z ${tags[$name]} || ${tags[$name]} == *"[$command]"* ]] || continue
		letter=${letter_of[$name]} argument=${argument_of[$name]}
		text="[${${help[$name]//\]/\\]}//\[/\\[}]"
		case $argument in
		FILE) action=":$argument:_files" ;;
		DIR) action=":$argument:_files -/" ;;
		WHEN) action=":$argument:(auto always never)" ;;
		'') action= ;;
		*) action=":$argument: " ;;
		esac
		fitting="($name${letter:+ $letter})"
		specs+=("$fitting$name${argument:+=}$text$action")
		[[ -z $letter ]] || specs+=("$fitting$letter${argument:++}$text$action")
	done

	local curcontext=$curcontext state
	_arguments -C -s -S $specs '1: :->command' '*: :->argument' && return
	case $state in
	command) _describe command found ;;
	argument)
		case ${arguments[$command]} in
		LOG) _files ;;
		SYSTEM) _alternative 'systems:system:(kamailio freeswitch)' 'files:file:_files' ;;
		NAME|WHAT) _sipfence_names $where ;;
		*) return 1 ;;
		esac
		;;
	esac
}

_sipfence "$@"
