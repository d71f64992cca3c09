# SPDX-License-Identifier: GPL-2.0-or-later
#
# bash: commands and options are those that `sipfence help` prints, so they are never others than the
# program's. Names come from `sipfence status --json`, where the user may ask it. What is run is the
# sipfence of PATH, and never a program that was typed with a folder in front.

_sipfence_program()
{
	type -P sipfence || echo /usr/sbin/sipfence
}

# Ids and hosts, one a line; $@: options that say where config, state and daemon are.
_sipfence_names()
{
	timeout 2 "$(_sipfence_program)" "$@" status --json 2>/dev/null |
		grep -oE '"(id|name)": ?"[A-Za-z0-9._@+-]+"' | cut -d'"' -f4 | sort -u | head -n 2000
}

_sipfence()
{
	local line word name previous='' command='' kind='' i
	local table='^ +(-(.), )?--([a-z-]+)(=([A-Z]+))? +(.*)$'
	local -a words=() where=() found=()
	local -A commands=() arguments=() tags=() letters=()

	while IFS= read -r line; do
		if [[ $line =~ $table ]]; then
			name=--${BASH_REMATCH[3]}
			arguments[$name]=${BASH_REMATCH[5]}
			[[ ! ${BASH_REMATCH[2]} ]] || letters[-${BASH_REMATCH[2]}]=$name
			[[ ! ${BASH_REMATCH[6]} =~ (\ \[[a-z]+\])+$ ]] || tags[$name]=${BASH_REMATCH[0]}
		elif [[ $line =~ ^\ \ ([a-z][a-z-]*)(\ (\[?[A-Z]+)[^\ ]*)?\  ]]; then
			commands[${BASH_REMATCH[1]}]=${BASH_REMATCH[3]#[}
		fi
	done < <("$(_sipfence_program)" help 2>/dev/null)
	((${#commands[@]})) || return 0

	# bash has cut its own words at "=" and ":".
	read -ra words <<<"${COMP_LINE:0:COMP_POINT}"
	[[ ${COMP_LINE:0:COMP_POINT} != *[[:space:]] ]] || words+=('')
	for ((i = 1; i < ${#words[@]}; i++)); do
		word=${words[i]}
		name=${letters[${word:-.}]:-${word%%=*}}
		if [[ $previous ]]; then
			case $previous in
			--config | --state-dir | --run-dir) where+=("$previous=$word") ;;
			esac
			kind=$previous previous=
		elif [[ $word == -* ]]; then
			kind=option
			[[ $word != --*=* || ! ${arguments[$name]:-} ]] || kind=$name
			[[ $word == *=* || ! ${arguments[$name]:-} ]] || previous=$name
			case $word in
			--config=* | --state-dir=* | --run-dir=*) where+=("$word") ;;
			esac
		elif [[ ! $command ]] && ((i + 1 < ${#words[@]})); then
			command=$word
		else
			kind=${command:+argument}
			kind=${kind:-command}
		fi
	done

	case $kind in
	command) found=("${!commands[@]}" help) ;;
	option)
		for name in "${!arguments[@]}"; do
			[[ $command && ${tags[$name]:-} && ${tags[$name]} != *"[$command]"* ]] || found+=("$name")
		done
		;;
	argument) kind=${commands[$command]:-} ;;
	--*)
		kind=${arguments[$kind]}
		[[ $word != --*=* ]] || word=${word#*=}
		;;
	esac
	case $kind in
	WHEN) found=(auto always never) ;;
	NAME | WHAT) mapfile -t found < <(_sipfence_names "${where[@]}") ;;
	SYSTEM) found=(kamailio freeswitch)
		[[ " ${words[*]} " != *" --write "* ]] || mapfile -t found < <(compgen -f -- "$word") ;;
	FILE | LOG) compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return ;;
	DIR) compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
		return ;;
	esac
	COMPREPLY=()
	for name in "${found[@]}"; do
		[[ $name != "$word"* ]] || COMPREPLY+=("${name#"${word%"${word##*[=:]}"}"}")
	done
}

complete -F _sipfence sipfence
