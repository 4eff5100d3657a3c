# Waits until the process that started it closes the pipe or dies, then stops
# the server that may still run in the directory $1 and removes the directory.
dir=$1
pidfile=$dir/data/postmaster.pid
trap '' HUP INT TERM
PATH=$PATH:/usr/bin:/bin:/usr/sbin:/sbin

read -r _

# ours: is process $1 the server of this directory? Its number alone does not
# tell, since another process may have got it since. A zombie is nobody's.
ours() {
	if [ -d /proc/self ]; then
		args=$(tr '\0' ' ' <"/proc/$1/cmdline")
	else
		args=$(ps -ww -o args= -p "$1")
	fi
	case $args in
	*"$dir"*) return 0 ;;
	esac
	return 1
}

if read -r pid <"$pidfile" && ours "$pid"; then
	kill -QUIT "$pid"
	tries=0
	while [ -e "$pidfile" ] && ours "$pid" && [ $tries -lt 100 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	if [ -e "$pidfile" ] && ours "$pid"; then
		kill -KILL "$pid"
	fi
fi

# A server that ended as it should has removed its pidfile, its backends and
# its System V segment, whose id is the second number of the seventh line.
if [ -e "$pidfile" ]; then
	for proc in /proc/[0-9]*; do
		if [ "$(readlink "$proc/cwd")" = "$dir/data" ]; then
			kill -KILL "${proc#/proc/}"
		fi
	done
	segment=$(sed -n '7s/.* //p' "$pidfile")
	if [ -n "$segment" ]; then
		ipcrm -m "$segment"
	fi
fi

rm -rf "$dir" || { sleep 1 && rm -rf "$dir"; }
