# SPDX-License-Identifier: GPL-2.0-or-later
#
# fish: commands and options are those that `sipfence help` prints when this is loaded. Names come from
# `sipfence status --json`, where the user may ask it.

function __sipfence_program
    command -s sipfence; or echo /usr/sbin/sipfence
end

# Options that say where config, state and daemon are, one a line.
function __sipfence_where
    set -l words (commandline -opc)
    for i in (seq 2 (count $words))
        switch $words[$i]
            case '--config=*' '--state-dir=*' '--run-dir=*'
                echo -- $words[$i]
            case -c --config
                test $i -lt (count $words); and echo -- --config=$words[(math $i + 1)]
            case --state-dir --run-dir
                test $i -lt (count $words); and echo -- $words[$i]=$words[(math $i + 1)]
        end
    end
end

# Ids and hosts, one a line.
function __sipfence_names
    timeout 2 (__sipfence_program) (__sipfence_where) status --json 2>/dev/null |
        string match -ra '"(?:id|name)": ?"[A-Za-z0-9._@+-]+"' |
        string split -f 4 '"' | sort -u | head -n 2000
end

# The command that stands on the line, or nothing.
function __sipfence_command
    set -l words (commandline -opc)
    set -l value no
    for word in $words[2..-1]
        if test $value = yes
            set value no
        else if contains -- $word $__sipfence_valued
            set value yes
        else if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
    return 1
end

# True where the command is one of these; with -o also where there is none yet.
function __sipfence_fits
    set -l command (__sipfence_command)
    if test -z "$command"
        test "$argv[1]" = -o
    else
        contains -- $command $argv
    end
end

complete -c sipfence -f
set -g __sipfence_valued
set -l program (__sipfence_program)
for line in ($program help 2>/dev/null)
    set -l option (string match -r '^ +((?:-.)?)(?:, )?--([a-z-]+)=?((?:[A-Z]+)?) +(.*?)((?: \[[a-z]+\])*)$' -- $line)
    set -l command (string match -r '^  ([a-z][a-z-]*) \[?((?:[A-Z]+)?)[^ ]* +(.*)$' -- $line)
    if test -n "$option[1]"
        set -l more -l $option[3] -d $option[5]
        test -n "$option[2]"; and set -a more -s (string sub -s 2 -- $option[2])
        set -l commands (string match -ra '[a-z]+' -- $option[6])
        test -n "$commands"; and set -a more -n "__sipfence_fits -o $commands"
        switch "$option[4]"
            case ''
            case FILE
                set -a more -rF
            case DIR
                set -a more -xa '(__fish_complete_directories)'
            case WHEN
                set -a more -xa 'auto always never'
            case '*'
                set -a more -x
        end
        complete -c sipfence $more
        if test -n "$option[4]"
            set -a __sipfence_valued --$option[3]
            test -n "$option[2]"; and set -a __sipfence_valued $option[2]
        end
    else if test -n "$command[1]"
        complete -c sipfence -n 'not __sipfence_command' -a $command[2] -d $command[4]
        switch "$command[3]"
            case LOG
                complete -c sipfence -n "__sipfence_fits $command[2]" -F
            case SYSTEM
                complete -c sipfence -n "__sipfence_fits $command[2]" -a 'kamailio freeswitch' -F
            case NAME WHAT
                complete -c sipfence -n "__sipfence_fits $command[2]" -a '(__sipfence_names)'
        end
    end
end
complete -c sipfence -n 'not __sipfence_command' -a help -d 'print commands and options'
